// The words for what a number stands for and how that is known: unit, source, coverage, resolution.

import { formatCount, formatCounted, unitOf } from "./format.js";

/** @typedef {import("./types.js").Meaning} Meaning */
/** @typedef {import("./types.js").EpochRow} EpochRow */
/** @typedef {import("./types.js").EpochsAnswer} EpochsAnswer */
/** @typedef {import("./types.js").ViewName} ViewName */

/** @type {Record<string, string>} */
const WITHOUT_MEAN = { batch_coupled: "per batch, coupled", non_linear: "per batch, not linear", constant: "constant" };

/** @type {Record<string, string>} */
const SHORT = { unknown: "weights unknown" };

/** @type {Record<string, string>} */
const SOURCES = {
  exact: "The loss’s own divisor, counted from what it was called with.",
  probed: "Found by calling the loss once on parts of a batch.",
  declared: "The training said what the loss divides by.",
  assumed: "We assumed a mean over the batch’s items. If the loss ignores or weights targets, pass weight=.",
  unknown: "What the loss divides by can’t be seen; its items stand for it here. Pass weight= to make this exact.",
};

/** @type {Record<string, string>} */
const FINDINGS = {
  mean_weighted: "The loss is a weighted mean whose weights can’t be seen. Items stand for them here; pass weight= to make this exact.",
  batch_coupled: "Each item’s loss depends on the others of its batch, so there is no mean per item: only batches of one size compare.",
  non_linear: "The loss of a batch is no mean of its items’ losses, so there is no mean per item.",
  constant: "The loss does not depend on the batch, so there is no mean per item.",
};

/**
 * What a series' numbers are, in three words: "per token, exact".
 * @param {Meaning} meaning
 * @returns {string}
 */
export function labelMeaning({ reduction, weight_unit, weight_source, traits }) {
  const without = WITHOUT_MEAN[traits?.finding ?? ""];
  if (without) return without;
  if (reduction === "unknown") return "undeclared";
  return weight_source ? `per ${unitOf([weight_unit])}, ${SHORT[weight_source] ?? weight_source}` : `per ${unitOf([weight_unit])}`;
}

/**
 * How that is known, and what would make it surer.
 * @param {Meaning} meaning
 * @returns {string}
 */
export function explainMeaning({ reduction, weight_source, traits }) {
  const found = FINDINGS[traits?.finding ?? ""];
  if (found) return found;
  if (reduction === "unknown") return "Nothing said what this loss divides by, so it is drawn as it came. Log batch_size beside it, or watch the loss.";
  return SOURCES[weight_source ?? ""] ?? "";
}

/**
 * Whether the number per item rests on something that nobody has seen.
 * @param {Meaning} meaning
 * @returns {boolean}
 */
export function isDoubtful({ reduction, weight_source }) {
  return reduction === "unknown" || weight_source === "assumed" || weight_source === "unknown";
}

/**
 * What an epoch's numbers stand for: the reduction is the epoch's own, the rest the series'.
 * @param {EpochsAnswer} answer
 * @param {EpochRow} epoch
 * @returns {Meaning}
 */
export function meaningOf(answer, { reduction }) {
  return { ...answer, reduction: reduction ?? answer.reduction };
}

/**
 * One label for several series: theirs if it is the same, else the unit and the least sure source.
 * @param {Meaning[]} meanings
 * @returns {string}
 */
export function labelMeanings(meanings) {
  const labels = new Set(meanings.map(labelMeaning));
  if (labels.size === 1) return [...labels][0] ?? "";
  const known = meanings.filter((meaning) => meaning.reduction !== "unknown");
  const unit = `per ${unitOf(known.map((meaning) => meaning.weight_unit))}`;
  const least = ["unknown", "assumed"].find((source) => known.some((meaning) => meaning.weight_source === source));
  const sources = new Set(known.map((meaning) => meaning.weight_source));
  if (sources.size === 1 && least === undefined) return `${unit}, ${[...sources][0]}`;
  return least ? `${unit}, partly ${SHORT[least] ?? least}` : unit;
}

/**
 * What a view's number is of the series: the hover's words behind it.
 * @param {ViewName} view
 * @param {Meaning} meaning
 * @returns {string}
 */
export function tellView(view, meaning) {
  const label = labelMeaning(meaning);
  const words = {
    raw_sum: "sum of what the loss returned",
    normalized_sum: `sum × batch size, ${meaning.weight_source ?? ""}`.replace(/, $/, ""),
    batch_mean: `mean of batches, each ${label}`,
    step_objective: `mean of steps, each ${label}`,
    per_item: label,
  };
  return words[view];
}

/**
 * The items of an epoch beside those that the data set has.
 * @param {EpochRow} row
 * @param {Meaning} meaning
 * @returns {{text: string, sentence: string}}
 */
export function tellCoverage({ items_seen, ranks }, { traits }) {
  const should = traits?.dataset_items ?? null;
  const text = formatCount(items_seen);
  if (should === null || should === items_seen) return { text, sentence: should === null ? "" : `all ${formatCounted(should, "item")} of the data set` };
  const more = items_seen - should;
  const sentence = more > 0
    ? `${text} of ${formatCount(should)}: ${formatCount(more)} ${(ranks?.length ?? 0) > 1 ? "repeated by the sampler" : "seen more than once"}`
    : `${text} of ${formatCounted(should, "item")} of the data set: ${formatCount(-more)} not seen`;
  return { text: `${text} of ${formatCount(should)}`, sentence };
}

/**
 * The least step that a 16-bit loss can make: "steps of 1/64"; empty where it is finer than anyone reads.
 * @param {number|null|undefined} resolution
 * @returns {string}
 */
export function tellResolution(resolution) {
  if (!resolution) return "";
  const parts = 1 / resolution;
  return `steps of ${parts > 1 && Number.isInteger(parts) ? `1/${formatCount(parts)}` : String(resolution)}`;
}
