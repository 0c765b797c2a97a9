// What an epoch is made of, for the panel that answers why: counts, coverage, noise, ranks, and what was left out.

import { make } from "./dom.js";
import { formatAmount, formatCount, formatCounted, formatExact, formatLoss, unitOf } from "./format.js";
import { explainMeaning, tellCoverage, tellResolution } from "./meaning.js";

/** @typedef {import("./types.js").Explanation} Explanation */
/** @typedef {Pick<import("./types.js").Counts, "left_out"|"reasons">} LeftOut */
/** @typedef {{label: string, text: string, more?: string, fields: string[]}} Fact  fields: those of the values table that ask for it */

const FIELDS = ["meaning", "batch_size", "last_batch_size", "batches", "items", "nonfinite"];

/**
 * @param {string} field  of the values table
 * @returns {boolean} whether it is told here, not by a view
 */
export function isFact(field) {
  return FIELDS.includes(field);
}

/**
 * @param {Explanation} answer
 * @param {string} field  the one asked about
 * @param {LeftOut} [counts]  of the whole run
 * @returns {Fact[]} only what there is to say
 */
export function listFacts(answer, field, counts) {
  return [tellMeaning(answer, field), tellBatches(answer), ...tellItems(answer), ...tellSteps(answer), ...tellBad(answer), ...tellNoise(answer), ...tellLeftOut(counts)];
}

/**
 * The ranks of the epoch, one a row.
 * @param {Explanation} answer
 * @returns {HTMLElement|null} null for one rank
 */
export function tableRanks(answer) {
  const { ranks, rank_spread: spread } = answer;
  if (!ranks || ranks.length < 2) return null;
  const head = ["Rank", `Per ${unitOf([answer.weight_unit])}`, "Batch mean", "Batches", "Items"].map((label) => make("th", { scope: "col" }, label));
  const rows = ranks.map((rank) => {
    const cells = [formatLoss(rank.per_item), formatLoss(rank.batch_mean), formatCount(rank.batches), formatCount(rank.items)];
    return make("tr", {}, make("th", { scope: "row" }, String(rank.rank)), ...cells.map((text) => make("td", {}, text)));
  });
  const caption = spread === null || spread === undefined ? "Ranks" : `Ranks, ${formatLoss(spread)} apart`;
  return make("table", { class: "ranks" }, make("caption", {}, caption), make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
}

/**
 * @param {Explanation} answer
 * @param {string} field
 * @returns {Fact} with its sentence, unless that stands with the artefacts already
 */
function tellMeaning(answer, field) {
  const isTold = field !== "meaning" && answer.artefacts.some((artefact) => artefact.code === "assumed-weight");
  return { label: "Meaning", text: answer.label, more: isTold ? "" : explainMeaning(answer), fields: ["meaning"] };
}

/** @param {Explanation} answer */
function tellBatches({ batches, batches_seen: seen, batch_size: size, last_batch_size: last, items, ranks }) {
  const isEven = (ranks?.length ?? 0) < 2 && items === (size ?? 0) * (batches - 1) + (last ?? 0);
  const tail = last === null || last === size ? "" : `, the last of ${formatCount(last)}`;
  const sizes = size === null ? "" : isEven ? `, each of ${formatCounted(size, "item")}${tail}` : `, each of up to ${formatCounted(size, "item")}`;
  const counted = batches === seen ? "" : `, ${formatCount(batches)} counted`;
  return { label: "Batches", text: formatCount(seen), more: `${sizes}${counted}`, fields: ["batches", "batch_size", "last_batch_size"] };
}

/**
 * @param {Explanation} answer
 * @returns {Fact[]}
 */
function tellItems(answer) {
  const { text, sentence } = tellCoverage(answer, answer);
  const facts = [{ label: "Items", text, more: sentence.startsWith(text) ? sentence.slice(text.length) : sentence, fields: ["items"] }];
  const isWeighed = answer.reduction !== "unknown" && answer.weight !== undefined && answer.weight !== answer.items_seen;
  if (isWeighed) facts.push({ label: "Weight", text: formatAmount(answer.weight ?? 0), more: `${unitOf([answer.weight_unit])}${answer.weight === 1 ? "" : "s"} that the loss was divided by`, fields: [] });
  return facts;
}

/**
 * @param {Explanation} answer
 * @returns {Fact[]}
 */
function tellSteps({ steps, accumulation }) {
  if (!steps) return [];
  const each = accumulation && accumulation > 1 ? `of ${formatCounted(accumulation, "batch", "batches")} each` : "";
  return [{ label: "Steps", text: formatCount(steps), more: each, fields: [] }];
}

/**
 * @param {Explanation} answer
 * @returns {Fact[]}
 */
function tellBad({ nonfinite, empty }) {
  const facts = [{ label: "Not finite", text: formatCount(nonfinite), more: nonfinite > 0 ? "counted, and in no sum" : "", fields: ["nonfinite"] }];
  if (empty > 0) facts.push({ label: "Empty", text: formatCount(empty), more: "nothing in them counted for the loss", fields: [] });
  return facts;
}

/**
 * @param {Explanation} answer
 * @returns {Fact[]}
 */
function tellNoise({ std_error: scatter, std_error_detrended: detrended, resolution }) {
  const facts = [];
  if (typeof scatter === "number") {
    const without = typeof detrended === "number" ? `, ±${formatExact(rounded(detrended))} without the trend` : "";
    facts.push({ label: "Batch noise", text: `±${formatExact(rounded(scatter))}`, more: `from the scatter of batches${without}`, fields: [] });
  }
  const steps = tellResolution(resolution);
  if (steps) facts.push({ label: "Resolution", text: steps, more: "as fine as the loss’s own type can tell", fields: [] });
  return facts;
}

/**
 * @param {LeftOut|undefined} counts
 * @returns {Fact[]} what is no loss of the training and so is in no number
 */
function tellLeftOut(counts) {
  const found = Object.entries(counts?.left_out ?? {}).filter(([, count]) => count > 0);
  return found.map(([reason, count], i) => {
    const sentence = counts?.reasons?.[reason] ?? "";
    return { label: i === 0 ? "Left out" : "", text: `${formatCount(count)} ${reason.replaceAll("-", " ")} in the whole run.`, more: sentence, fields: [] };
  });
}

/** @param {number} value  to two digits: an error is no more certain than that */
function rounded(value) {
  return Number(value.toPrecision(2));
}
