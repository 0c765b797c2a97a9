// What the cells of the values table hold: one number each, with what its hover says.

import { formatCount, formatExact, formatLoss, unitOf } from "./format.js";
import { explainMeaning, isDoubtful, labelMeaning, meaningOf, tellCoverage, tellResolution } from "./meaning.js";
import { labelView, offeredViews, splitOf } from "./views.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Run} Run */
/** @typedef {import("./types.js").EpochRow} EpochRow */
/** @typedef {import("./types.js").EpochsAnswer} EpochsAnswer */
/** @typedef {import("./types.js").Meaning} Meaning */
/** @typedef {import("./types.js").WireNumber} WireNumber */
/** @typedef {{run: Run, series: string, answer: EpochsAnswer, epoch: EpochRow}} Line  one series of one run */
/** @typedef {{field: string, label: string}} Column */

/**
 * @typedef {object} Content
 * @prop {WireNumber|string} value  as the service gave it
 * @prop {string} text
 * @prop {string} title             empty where there is no more to say
 * @prop {"about"|"bad"|"doubt"|null} mark
 */

/**
 * The table's columns, each of which can be asked about; those that would say nothing are left out.
 * @param {State} state
 * @param {Line[]} lines
 * @returns {Column[]}
 */
export function listColumns(state, lines) {
  const unit = unitOf(lines.map((line) => line.answer.weight_unit));
  const hasShort = lines.some(({ epoch }) => epoch.last_batch_size !== epoch.batch_size);
  const hasBad = lines.some(({ epoch }) => epoch.nonfinite > 0);
  return [
    { field: "meaning", label: "Meaning" },
    ...offeredViews(state).map((view) => ({ field: view, label: labelView(view, unit) })),
    { field: "batch_size", label: "Batch size" },
    ...(hasShort ? [{ field: "last_batch_size", label: "Last batch" }] : []),
    { field: "batches", label: "Batches" },
    { field: "items", label: "Items" },
    ...(hasBad ? [{ field: "nonfinite", label: "Not finite" }] : []),
  ];
}

/**
 * @param {Line} line
 * @param {string} field
 * @returns {Content}
 */
export function readCell({ answer, epoch }, field) {
  const meaning = meaningOf(answer, epoch);
  switch (field) {
    case "meaning": return readMeaning(meaning, epoch);
    case "batch_size": return count(epoch.batch_size);
    case "last_batch_size": return count(epoch.last_batch_size);
    case "batches": return count(epoch.batches_seen);
    case "nonfinite": return { ...count(epoch.nonfinite), mark: epoch.nonfinite > 0 ? "bad" : null };
    case "items": {
      const { text, sentence } = tellCoverage(epoch, answer);
      return { value: epoch.items_seen, text, title: sentence, mark: null };
    }
    default: return readView(meaning, epoch, field);
  }
}

/**
 * What a screen reader says of a cell's button, its text first.
 * @param {Line} line
 * @param {Column} column
 * @param {string} text
 */
export function nameCell({ run, series, epoch }, { label }, text) {
  const which = epoch.epoch === null ? "" : `, epoch ${formatCount(epoch.epoch)}`;
  return `${text}: ${label.toLowerCase()} of ${run.name} ${splitOf(series)}${which}. Why?`;
}

/**
 * @param {Meaning} meaning
 * @param {EpochRow} epoch
 * @returns {Content}
 */
function readMeaning(meaning, epoch) {
  const label = labelMeaning(meaning);
  const steps = tellResolution(epoch.resolution);
  const text = steps ? `${label}, ${steps}` : label;
  return { value: label, text, title: explainMeaning(meaning), mark: isDoubtful(meaning) ? "doubt" : null };
}

/**
 * @param {Meaning} meaning
 * @param {EpochRow} epoch
 * @param {string} view
 * @returns {Content}
 */
function readView(meaning, epoch, view) {
  const value = /** @type {Record<string, any>} */ (epoch)[view] ?? null;
  const isAbout = view === "per_item" && value !== null && isDoubtful(meaning);
  const exactly = typeof value === "number" && !Number.isInteger(value) ? formatExact(value) : "";
  const title = view === "per_item" ? `${exactly} ${labelMeaning(meaning)}. ${explainMeaning(meaning)}`.trim() : exactly;
  return { value, text: formatLoss(value), title, mark: isAbout ? "about" : null };
}

/**
 * @param {number|null} value
 * @returns {Content}
 */
function count(value) {
  return { value, text: value === null ? "–" : formatCount(value), title: "", mark: null };
}
