// What the views, axes and layouts are called and mean, and which of them a state shows.

/** @typedef {import("./types.js").ViewName} ViewName */
/** @typedef {import("./types.js").XAxis} XAxis */
/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Run} Run */
/** @typedef {import("./types.js").Layout} Layout */
/** @typedef {import("./types.js").Warning} Warning */
/** @typedef {import("./types.js").EpochRow} EpochRow */
/** @typedef {import("./types.js").EpochsAnswer} EpochsAnswer */

/** @type {ViewName[]} */
export const VIEWS = ["raw_sum", "normalized_sum", "batch_mean", "step_objective", "per_item"];

/** @type {XAxis[]} */
export const AXES = ["epoch", "batch", "step", "items", "time"];

/** The split that `lossboard.evaluate` records in. */
export const EVALUATED = "eval";

/** @type {Record<XAxis, string>} */
export const AXIS_LABELS = { epoch: "Epoch", batch: "Batch", step: "Step", items: "Items", time: "Time" };

/**
 * The label of a view, with the unit that its runs are weighted by.
 * @param {ViewName} view
 * @param {string} unit  as `unitOf` says it
 * @returns {string}
 */
export function labelView(view, unit) {
  const labels = { raw_sum: "Raw sum", normalized_sum: "Normalized sum", batch_mean: "Batch mean", step_objective: "Step objective", per_item: `Per ${unit}` };
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
    step_objective: "Every batch and rank of a step counts alike, as its gradient had it.",
    per_item: `Every ${unit} counts alike, whatever the batch size.`,
  };
  return sentences[view];
}

/**
 * The title of the y axis.
 * @param {ViewName} view
 * @param {string} label  what its numbers are, as `labelMeanings` says it
 * @returns {string}
 */
export function titleView(view, label) {
  const titles = {
    raw_sum: "Sum of batch losses",
    normalized_sum: "Sum of batch losses × batch size",
    batch_mean: `Mean of batch losses, each ${label}`,
    step_objective: `Mean over steps, each ${label}`,
    per_item: titleLoss(label),
  };
  return titles[view];
}

/**
 * The title of an axis of single losses.
 * @param {string} label
 * @returns {string}
 */
export function titleLoss(label) {
  return label.startsWith("per ") ? `Loss ${label}` : `Loss, ${label}`;
}

/**
 * The views worth offering: the step objective only where a step is more than one batch.
 * @param {State} state
 * @returns {ViewName[]}
 */
export function offeredViews(state) {
  return VIEWS.filter((view) => view !== "step_objective" || state.view === view || hasLargeSteps(state));
}

/**
 * The axes worth offering: steps only where one takes several batches; else they are the batches.
 * @param {State} state
 * @returns {XAxis[]}
 */
export function offeredAxes(state) {
  return AXES.filter((axis) => axis !== "step" || state.x === "step" || drawnCurves(state).some((curve) => accumulates(state, curve)));
}

/** @param {State} state */
function hasLargeSteps(state) {
  return drawnCurves(state).some((curve) => (curve.ranks ?? 1) > 1 || (curve.traits?.divided_by ?? 1) > 1 || accumulates(state, curve));
}

/** @param {State} state */
function drawnCurves(state) {
  return (state.epochCurves?.curves ?? []).filter((curve) => state.selected.includes(curve.run));
}

/**
 * @param {State} state
 * @param {import("./types.js").Curve} curve
 */
function accumulates(state, { run, series }) {
  return (state.epochs[epochsKey(run, series)]?.epochs.at(-1)?.accumulation ?? 1) > 1;
}

/**
 * The warnings that concern what is on show; both charts' answers carry them.
 * @param {State} state
 * @returns {Warning[]}
 */
export function currentWarnings(state) {
  const views = [state.view, state.mode];
  const axes = [axisInForce(state) === "items" ? "items" : "epoch", batchAxis(state)];
  const concerns = (/** @type {string[]|undefined} */ of, /** @type {string[]} */ shown) => !of?.length || of.some((one) => shown.includes(one));
  const all = [state.epochCurves, state.batchCurves].flatMap((answer) => answer?.warnings ?? []);
  const current = all.filter((warning) => concerns(warning.views, views) && concerns(warning.axes, axes));
  return [...new Map(current.map((warning) => [warning.code + warning.message, warning])).values()];
}

/**
 * The layout where nobody chose one: side by side where the runs' losses can't share an axis.
 * @param {State} state
 * @returns {Layout}
 */
export function fittingLayout(state) {
  const isApart = currentWarnings(state).some((warning) => warning.suggest?.layout === "side");
  return isApart && state.selected.length > 1 ? "side" : "overlay";
}

/**
 * @param {State} state
 * @returns {Layout}
 */
export function layoutInForce(state) {
  const chosen = state.layout ?? fittingLayout(state);
  return chosen !== "difference" || offeredLayouts(state).includes(chosen) ? chosen : "overlay";
}

/**
 * The layouts worth offering: a difference needs two runs, and a moment at which both trained.
 * @param {State} state
 * @returns {Layout[]}
 */
export function offeredLayouts(state) {
  return selectedRuns(state).length > 1 && axisInForce(state) !== "time" ? ["overlay", "side", "difference"] : ["overlay", "side"];
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
 * The batch chart's axis. Epochs have no place on it: they are then drawn over batches.
 * @param {State} state
 * @returns {"batch"|"step"|"items"|"time"}
 */
export function batchAxis(state) {
  const axis = axisInForce(state);
  return axis === "epoch" ? "batch" : axis;
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
  const trained = all.filter((series) => splitOf(series) !== EVALUATED);
  return [...new Set((trained.length > 0 ? trained : all).map(lossName))];
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

/**
 * The epoch whose numbers stand for a series: the last complete one, else the last.
 * @param {EpochsAnswer|undefined} answer
 * @returns {EpochRow|undefined}
 */
export function shownEpoch(answer) {
  return answer?.epochs.findLast((row) => row.complete) ?? answer?.epochs.at(-1);
}

/** @param {string} series */
function rankSeries(series) {
  return series.startsWith("train/") ? 0 : 1;
}
