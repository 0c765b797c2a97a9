// What the four views and four axes are called and mean; the words of the view switch live here only.

/** @typedef {import("./types.js").ViewName} ViewName */
/** @typedef {import("./types.js").XAxis} XAxis */
/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Run} Run */

/** @type {ViewName[]} */
export const VIEWS = ["raw_sum", "normalized_sum", "batch_mean", "per_item"];

/** @type {XAxis[]} */
export const AXES = ["epoch", "batch", "items", "time"];

/** @type {Record<XAxis, string>} */
export const AXIS_LABELS = { epoch: "Epoch", batch: "Batch", items: "Items", time: "Time" };

/**
 * The label of a view, with the unit that its runs are weighted by.
 * @param {ViewName} view
 * @param {string} unit  as `unitOf` says it
 * @returns {string}
 */
export function labelView(view, unit) {
  const labels = { raw_sum: "Raw sum", normalized_sum: "Normalized sum", batch_mean: "Batch mean", per_item: `Per ${unit}` };
  return labels[view];
}

/**
 * One sentence on what the view's number is.
 * @param {ViewName} view
 * @param {string} unit
 * @returns {string}
 */
export function explainView(view, unit) {
  const sentences = {
    raw_sum: "The batch losses added up, as most loops print it.",
    normalized_sum: "Raw sum × batch size. Exact if every batch is full.",
    batch_mean: "Every batch counts alike, a short last one too.",
    per_item: `Every ${unit} counts alike, whatever the batch size.`,
  };
  return sentences[view];
}

/**
 * The title of the y axis.
 * @param {ViewName} view
 * @param {string} unit
 * @returns {string}
 */
export function titleView(view, unit) {
  const titles = {
    raw_sum: "Sum of batch losses",
    normalized_sum: "Sum of batch losses × batch size",
    batch_mean: "Mean of batch losses",
    per_item: `Loss per ${unit}`,
  };
  return titles[view];
}

/**
 * The x axis in force: the chosen one, else items where batch sizes differ, else epochs.
 * @param {State} state
 * @returns {XAxis}
 */
export function axisInForce(state) {
  if (state.x) return state.x;
  const sizes = new Set(selectedRuns(state).map((run) => run.batch_size).filter((size) => size !== null));
  return sizes.size > 1 ? "items" : "epoch";
}

/**
 * The selected runs that are known, in the order of selection.
 * @param {State} state
 * @returns {Run[]}
 */
export function selectedRuns(state) {
  return state.selected.flatMap((run) => state.known[run] ?? []);
}

/**
 * The names of the losses in the selected runs: what follows the split in a series' name.
 * @param {State} state
 * @returns {string[]}
 */
export function lossNames(state) {
  const all = selectedRuns(state).flatMap((run) => [...run.series].sort((a, b) => rankSeries(a) - rankSeries(b)));
  return [...new Set(all.map(lossName))];
}

/**
 * The loss in force: the chosen one if a selected run has it, else the first.
 * @param {State} state
 * @returns {string|null}
 */
export function lossInForce(state) {
  const names = lossNames(state);
  return state.loss !== null && names.includes(state.loss) ? state.loss : (names[0] ?? null);
}

/**
 * @param {string} series
 * @returns {string}
 */
export function splitOf(series) {
  return series.slice(0, series.indexOf("/"));
}

/**
 * @param {string} series
 * @returns {string}
 */
export function lossName(series) {
  return series.slice(series.indexOf("/") + 1);
}

/**
 * @param {string} run
 * @param {string} series
 * @returns {string}
 */
export function epochsKey(run, series) {
  return `${run} ${series}`;
}

/** @param {string} series */
function rankSeries(series) {
  return series.startsWith("train/") ? 0 : 1;
}
