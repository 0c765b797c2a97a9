// The two chart panels: heading, key, share of what is shown, chart; each drawn anew when what it reads changes.

import { createHiddenToggle } from "./attempts.js";
import { figureBatches } from "./batch-figure.js";
import { createChart } from "./chart.js";
import { rgbColour } from "./colours.js";
import { createRadios } from "./controls.js";
import { baselineOf, showDifferences } from "./difference.js";
import { make, setText } from "./dom.js";
import { figureEpochs } from "./epoch-figure.js";
import { layCells, readInk } from "./figure-parts.js";
import { formatCount, formatCounted, unitOf } from "./format.js";
import { drawKey } from "./key.js";
import { explainMeaning, labelMeanings } from "./meaning.js";
import { createSmoothing, tellHalfLife } from "./smoothing.js";
import { watch } from "./store.js";
import { EVALUATED, axisInForce, batchAxis, currentWarnings, epochsKey, explainView, labelView, layoutInForce, selectedRuns, shownEpoch, splitOf } from "./views.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Curve} Curve */
/** @typedef {import("./types.js").HiddenCurve} HiddenCurve */
/** @typedef {import("./types.js").CurvesAnswer} CurvesAnswer */
/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("./colours.js").Colours} Colours */
/** @typedef {import("./figure-parts.js").Cell} Cell */

const ROW_HEIGHT = 210; // px, the least height of a row of charts side by side

/**
 * @param {string} id
 * @param {string} title
 */
function makePanel(id, title) {
  const say = make("p", { class: "say" });
  const share = make("p", { class: "share", id: `${id}-share` });
  const key = make("div", { class: "key" });
  const heading = make("h2", {}, title);
  const reset = make("button", { type: "button", class: "button", hidden: true }, "Reset zoom");
  const head = make("header", { class: "panel-head" }, heading, say, reset, key, share);
  const chart = make("div", { class: "chart", id: `${id}-chart`, role: "img" });
  const empty = make("p", { class: "empty", hidden: true });
  const root = make("section", { class: "panel", id, "aria-label": title }, head, chart, empty);
  return { root, head, heading, say, key, share, chart, empty, reset };
}

/**
 * Show the epoch chart and the batch chart.
 * @param {HTMLElement} root
 * @param {Store} store
 * @param {Colours} colours
 * @returns {() => void}
 */
export function showPanels(root, store, colours) {
  const epochs = makePanel("epochs", "Epochs");
  const batches = makePanel("batches", "Batches");
  root.append(epochs.root, batches.root);
  const mode = createRadios(store, {
    name: "mode", legend: "Batch chart", pick: (state) => state.mode, choose: (value) => store.set({ mode: value }),
    choices: () => [["batch", "Every batch"], ["running", "Running mean"]],
  });
  const smoothing = createSmoothing(store);
  batches.heading.after(mode.root, smoothing.root);
  const hidden = createHiddenToggle(store);
  epochs.say.after(hidden.root);
  const epochChart = createChart(epochs.chart, (zoom) => {
    epochs.reset.hidden = zoom === null;
    store.set({ epochZoom: zoom });
  }, (picked) => askWhy(store, picked));
  const batchChart = createChart(batches.chart, (zoom) => {
    batches.reset.hidden = zoom === null;
    store.set({ batchZoom: zoom });
  });
  epochs.reset.addEventListener("click", epochChart.resetZoom);
  batches.reset.addEventListener("click", batchChart.resetZoom);

  const drawEpochs = () => drawEpochPanel(epochs, epochChart, store.get(), colours);
  const drawBatches = () => drawBatchPanel(batches, batchChart, store.get(), colours);
  const shared = (/** @type {State} */ state) => [layoutInForce(state), state.isDark, state.selected, state.hidden, axisInForce(state), ownColours(state)];
  const sizes = new ResizeObserver(() => {
    drawEpochs();
    drawBatches();
  });
  for (const element of [epochs.chart, batches.chart]) sizes.observe(element);
  const ends = [
    watch(store, (state) => [state.epochCurves, state.epochDetail, state.view, ...shared(state)], drawEpochs),
    watch(store, (state) => [state.batchCurves, state.mode, state.smooth, ...shared(state)], drawBatches),
    watch(store, (state) => [axisInForce(state), state.selected], () => store.get().epochZoom && epochChart.resetZoom()),
    watch(store, (state) => [batchAxis(state), state.selected], () => store.get().batchZoom && batchChart.resetZoom()),
    mode.dispose, smoothing.dispose, hidden.dispose, epochChart.dispose, batchChart.dispose, () => sizes.disconnect(),
  ];
  return () => ends.forEach((end) => end());
}

/**
 * The colours that somebody gave the selected runs, as one value that is another when they are.
 * @param {State} state
 */
function ownColours(state) {
  return selectedRuns(state).map((run) => run.colour ?? "").join();
}

/**
 * Ask why about a point of the epoch chart; at the epoch that the table shows, go with the table.
 * @param {Store} store
 * @param {import("./epoch-figure.js").PickedEpoch} picked
 */
function askWhy(store, { run, series, epoch }) {
  const shown = shownEpoch(store.get().epochs[epochsKey(run, series)])?.epoch;
  store.set({ why: { run, series, epoch: epoch === shown ? null : epoch, field: null } });
}

/**
 * @param {ReturnType<typeof makePanel>} panel
 * @param {import("./chart.js").Chart} chart
 * @param {State} state
 * @param {Colours} colours
 */
function drawEpochPanel(panel, chart, state, colours) {
  const answer = state.epochDetail ?? state.epochCurves;
  const baseline = baselineOf(state);
  const all = showDifferences(curvesOf(state, answer), baseline);
  const curves = all.filter((curve) => curve.declared && curve.views[state.view]?.some((value) => value !== null));
  const unit = unitOf(all.map((curve) => curve.weight_unit));
  setText(panel.say, all.length > 0 && curves.length === 0 ? "" : explainView(state.view, unit));
  setText(panel.share, shareEpochs(curves));
  drawKey(panel.key, { runs: layoutInForce(state) === "side" ? [] : selectedRuns(state), curves, hidden: hiddenOf(state, answer), colours, isEpochs: true, hasRanks: state.view === "per_item" });
  tellEmpty(panel, all.length > 0 && curves.length === 0 ? whyEmpty(all) : "");
  panel.chart.setAttribute("aria-label", `${labelView(state.view, unit)}, ${labelMeanings(curves)}, by epoch of ${formatCounted(selectedRuns(state).length, "run")}; the values are in the table below`);
  const cells = cutCells(panel, state, curves, hiddenOf(state, answer), colours);
  chart.draw(figureEpochs({
    cells, baseline, view: state.view, byItems: axisInForce(state) === "items", sharesY: isComparable(state), look: colours.look, ink: readInk(panel.root), size: sizeOf(panel.chart),
  }));
}

/**
 * @param {ReturnType<typeof makePanel>} panel
 * @param {import("./chart.js").Chart} chart
 * @param {State} state
 * @param {Colours} colours
 */
function drawBatchPanel(panel, chart, state, colours) {
  const isFresh = state.batchCurves?.x === batchAxis(state);
  const baseline = baselineOf(state);
  const all = showDifferences(curvesOf(state, state.batchCurves), baseline).filter((curve) => isFresh && curve.views[state.mode]);
  const known = all.filter((curve) => splitOf(curve.series) !== EVALUATED); // its record is no batch but a whole pass
  const curves = known.filter((curve) => curve.x.some((x) => x !== null));
  const unit = unitOf(curves.map((curve) => curve.weight_unit));
  const smooth = state.mode === "batch" ? state.smooth : null;
  const placed = new Set(curves.map((curve) => curve.run));
  const absent = selectedRuns(state).filter(({ run }) => !placed.has(run) && known.some((curve) => curve.run === run));
  const untold = absent.length > 0 ? `${absent.map((run) => run.name).join(", ")}: no ${batchAxis(state)}s were told.` : "";
  setText(panel.say, untold || (state.mode === "running" ? `The epoch so far, per ${unit}.` : ""));
  setText(panel.share, shareBatches(curves));
  drawKey(panel.key, { runs: [], curves, hidden: hiddenOf(state, state.batchCurves), colours, isEpochs: false, hasRanks: false });
  const what = state.mode === "batch" ? "Loss of every batch" : "Running mean of the epoch";
  const smoothed = smooth === null ? "" : `, smoothed with a ${tellHalfLife(smooth)}`;
  panel.chart.setAttribute("aria-label", `${what}, ${labelMeanings(curves)}${smoothed}, of ${formatCounted(selectedRuns(state).length, "run")}`);
  const cells = cutCells(panel, state, curves, isFresh ? hiddenOf(state, state.batchCurves) : [], colours);
  const start = (/** @type {string} */ run) => Math.min(...curves.filter((curve) => curve.run === run).map((curve) => curve.x[0] ?? Infinity));
  chart.draw(figureBatches({
    cells, baseline, mode: state.mode, axis: batchAxis(state), smooth, sharesY: isComparable(state), look: colours.look, start, ink: readInk(panel.root), size: sizeOf(panel.chart),
  }));
}

/**
 * Only the curves of runs still selected: an answer may be older than the selection.
 * @param {State} state
 * @param {CurvesAnswer|null} answer
 */
function curvesOf(state, answer) {
  return (answer?.curves ?? []).filter((curve) => state.selected.includes(curve.run));
}

/**
 * What later attempts hide, where it is asked for.
 * @param {State} state
 * @param {CurvesAnswer|null} answer
 * @returns {HiddenCurve[]}
 */
function hiddenOf(state, answer) {
  return state.hidden && !baselineOf(state) ? (answer?.hidden ?? []).filter((curve) => state.selected.includes(curve.run)) : [];
}

/**
 * One cell for all curves, or one for each run; makes the panel tall enough for them.
 * @param {ReturnType<typeof makePanel>} panel
 * @param {State} state
 * @param {Curve[]} curves
 * @param {HiddenCurve[]} hidden
 * @param {Colours} colours
 * @returns {Cell[]}
 */
function cutCells(panel, state, curves, hidden, colours) {
  const runs = selectedRuns(state);
  if (layoutInForce(state) !== "side" || runs.length < 2) {
    panel.root.style.removeProperty("--least");
    return [{ title: "", colour: "", curves, hidden }];
  }
  const { rows } = layCells(runs.length, panel.chart.clientWidth);
  panel.root.style.setProperty("--least", `${rows * ROW_HEIGHT}px`);
  const ink = readInk(panel.root);
  return runs.map((run) => ({
    title: run.name, colour: rgbColour(colours.look(run.run), ink.hues) ?? ink.ink, curves: curves.filter((curve) => curve.run === run.run),
    hidden: hidden.filter((curve) => curve.run === run.run),
  }));
}

/**
 * Whether one scale for all cells helps: not for losses of which a warning says that they don't compare.
 * @param {State} state
 */
function isComparable(state) {
  return !currentWarnings(state).some((warning) => warning.suggest?.layout === "side");
}

/**
 * @param {Curve[]} curves  none of which has a point to draw
 * @returns {string}
 */
function whyEmpty(curves) {
  const meant = curves.find((curve) => curve.reduction === "unknown");
  if (meant) return `No number stands for an epoch of this loss. ${explainMeaning(meant)} The batches are below.`;
  return "No epoch was told for these records: say run.epoch = n, or loop over run.epochs(…). The batches are below.";
}

/**
 * @param {ReturnType<typeof makePanel>} panel
 * @param {string} text  empty where there is something to see
 */
function tellEmpty(panel, text) {
  panel.empty.hidden = text === "";
  panel.root.classList.toggle("is-empty", text !== "");
  setText(panel.empty, text);
}

/** @param {HTMLElement} chart */
function sizeOf(chart) {
  return { width: chart.clientWidth, height: chart.clientHeight };
}

/** @param {Curve[]} curves */
function shareEpochs(curves) {
  const records = curves.reduce((sum, curve) => sum + curve.records, 0);
  const shown = curves.reduce((sum, curve) => sum + curve.shown, 0);
  return records === 0 ? "" : `${formatCounted(shown, "point")} of ${formatCounted(records, "record")}`;
}

/** @param {Curve[]} curves */
function shareBatches(curves) {
  const records = curves.reduce((sum, curve) => sum + curve.records, 0);
  const shown = curves.reduce((sum, curve) => sum + curve.shown, 0);
  const bad = curves.reduce((sum, curve) => sum + curve.nonfinite.reduce((a, b) => a + b, 0), 0);
  if (records === 0) return "";
  const share = shown < records ? `${formatCounted(shown, "bucket")} of ${formatCounted(records, "record")}` : `all ${formatCounted(records, "record")}`;
  return bad > 0 ? `${share}, ${formatCount(bad)} not finite` : share;
}
