// What a resumed run shows beside its curves: where attempts begin, where records are missing, and, on demand, what later attempts hide.

import { fade } from "./band.js";
import { listen, make, setAttribute, setText } from "./dom.js";
import { finite, nameAxes, nameCurve, styleLine } from "./figure-parts.js";
import { formatCounted, formatExact } from "./format.js";
import { labelMeaning } from "./meaning.js";
import { watch } from "./store.js";
import { selectedRuns, splitOf } from "./views.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Curve} Curve */
/** @typedef {import("./types.js").HiddenCurve} HiddenCurve */
/** @typedef {import("./types.js").AttemptMark} AttemptMark */
/** @typedef {import("./types.js").WireNumber} WireNumber */
/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("./colours.js").Look} Look */
/** @typedef {import("./figure-parts.js").Ink} Ink */

/**
 * @typedef {object} Pen
 * @prop {number} cell
 * @prop {(run: string) => Look} look
 * @prop {Ink} ink
 * @prop {(x: number) => number} place  from the answer's x to the chart's
 */

export const HIDDEN_DASH = "2px,2px";
const HIDDEN_OPACITY = 0.65;
const DOTTED_POINTS = 30; // fewer points than this are also dots: one alone is no line
const FOOT = 0.05; // share of the chart's height that a beginning's mark takes

/**
 * The button that shows what later attempts hide; unseen where nothing is hidden.
 * @param {Store} store
 * @returns {{root: HTMLElement, dispose: () => void}}
 */
export function createHiddenToggle(store) {
  const root = make("button", { type: "button", class: "button", id: "hidden", "aria-pressed": "false" });
  const unlisten = listen(root, "click", () => store.set({ hidden: !store.get().hidden }));
  const unwatch = watch(store, (state) => [state.details, state.selected, state.hidden], (state) => {
    const text = nameHidden(state);
    root.hidden = text === "";
    setText(root, `${state.hidden ? "Leave out" : "Show"} ${text}`);
    setAttribute(root, "aria-pressed", String(state.hidden));
  });
  return {
    root,
    dispose() {
      unlisten();
      unwatch();
    },
  };
}

/**
 * "1,200 hidden records of attempt 1"; empty where no run on the charts has any.
 * @param {State} state
 * @returns {string}
 */
function nameHidden(state) {
  const runs = selectedRuns(state).flatMap(({ run }) => {
    const own = (state.details[run]?.attempts ?? []).filter(({ hidden }) => hidden > 0);
    return own.length > 0 ? [own] : [];
  });
  const all = runs.flat();
  if (all.length === 0) return "";
  const records = formatCounted(all.reduce((sum, { hidden }) => sum + hidden, 0), "hidden record");
  if (runs.length > 1) return `${records} of ${formatCounted(runs.length, "run")}`;
  return all.length > 1 ? `${records} of ${formatCounted(all.length, "attempt")}` : `${records} of attempt ${all[0]?.attempt}`;
}

/**
 * A hidden stretch: thin, dashed and dim in the run's colour, its attempt named.
 * @param {HiddenCurve} curve
 * @param {string} view
 * @param {number[]} xs
 * @param {Pen} pen
 * @param {{x: number, y: number}|null} [branch]  the visible point that it goes on from
 * @returns {object[]}
 */
export function drawHidden(curve, view, xs, { cell, look, ink, place }, branch = null) {
  const values = curve.views[view];
  if (!values?.some((value) => finite(value) !== null)) return [];
  const axes = nameAxes(cell);
  const color = fade(styleLine(curve, look(curve.run), ink).color, HIDDEN_OPACITY);
  const isStack = splitOf(curve.series) !== "train" && view === "batch";
  const lead = branch ? [branch] : [];
  const mode = isStack ? "markers" : xs.length < DOTTED_POINTS ? "lines+markers" : "lines";
  const text = values.map((value, i) => describeHidden(curve, value, i));
  return [{
    type: "scatter", xaxis: axes.x, yaxis: axes.y, name: nameCurve(curve), meta: "hidden", mode, hovertemplate: "%{text}",
    x: [...lead.map(({ x }) => x), ...xs.map(place)], y: [...lead.map(({ y }) => y), ...values.map(finite)],
    text: [...lead.map(() => `from here on attempt ${curve.attempt}, hidden`), ...text],
    line: { color, width: 1, dash: HIDDEN_DASH }, marker: { size: 3, color },
  }];
}

/**
 * @param {HiddenCurve} curve
 * @param {WireNumber} value
 * @param {number} i
 */
function describeHidden(curve, value, i) {
  const epoch = curve.epoch[i];
  const where = epoch === null || epoch === undefined ? `batch ${curve.batch[i] ?? "–"}` : `epoch ${epoch}`;
  return `${formatExact(value)} ${labelMeaning(curve)} · ${where} · attempt ${curve.attempt}, hidden`;
}

/**
 * Small marks at the foot of a chart where attempts begin.
 * @param {Curve} curve
 * @param {Pen} pen
 * @param {(mark: AttemptMark) => number|null} [find]  where a mark stands; by default its own x
 * @returns {object[]}
 */
export function drawStarts(curve, { cell, look, ink, place }, find = ({ x }) => x) {
  const marks = (curve.attempts ?? []).flatMap((mark) => {
    const x = find(mark);
    return x === null ? [] : [{ x: place(x), text: describeStart(mark) }];
  });
  if (marks.length === 0) return [];
  const axes = nameAxes(cell);
  const { color } = styleLine(curve, look(curve.run), ink);
  const base = { type: "scatter", xaxis: axes.x, yaxis: axes.marks, name: nameCurve(curve) };
  return [
    {
      ...base, x: marks.flatMap(({ x }) => [x, x, null]), y: marks.flatMap(() => [0, FOOT, null]), mode: "lines", hoverinfo: "skip", line: { color, width: 1 },
    },
    {
      ...base, x: marks.map(({ x }) => x), y: marks.map(() => FOOT), mode: "markers", text: marks.map(({ text }) => text), hovertemplate: "%{text}",
      marker: { symbol: "triangle-right", size: 8, color }, meta: "attempt",
    },
  ];
}

/** @param {AttemptMark} mark */
function describeStart({ attempt, epoch, batch, is_gap, is_known }) {
  const where = `${epoch === null ? "" : `epoch ${epoch}`}${batch > 0 ? `${epoch === null ? "" : ", "}batch ${batch}` : ""}`;
  const told = is_known ? "" : ", position unknown";
  return `attempt ${attempt} begins${where ? ` · ${where}` : ""}${told}${is_gap ? " · records before it are missing" : ""}`;
}

/**
 * Whether two neighbouring points of a run don't follow on each other as far as anyone knows: no line leads there.
 * @param {AttemptMark[]} gaps  as `findGaps` gives them
 * @param {{epoch: number|null|undefined, batch: number|undefined}} before
 * @param {{epoch: number|null|undefined, batch: number|undefined}} after
 */
export function isApart(gaps, before, after) {
  const isFrom = (/** @type {AttemptMark} */ mark, /** @type {typeof before} */ { epoch, batch }) =>
    (epoch ?? 0) > (mark.epoch ?? 0) || ((epoch ?? 0) === (mark.epoch ?? 0) && (batch ?? 0) >= mark.batch);
  // All batches of undeclared epochs are counted as one: where they begin anew, so did the script.
  if (gaps.length > 0 && (before.epoch ?? null) === null && (after.epoch ?? null) === null) return (after.batch ?? 0) < (before.batch ?? 0);
  return gaps.some((mark) => !isFrom(mark, before) && isFrom(mark, after));
}

/**
 * Where records of a curve's run are missing, or nobody knows what they follow on, as its training tells.
 * @param {Curve[]} curves
 * @param {Curve} curve
 * @returns {AttemptMark[]}
 */
export function findGaps(curves, { run }) {
  const train = curves.find((other) => other.run === run && (other.attempts?.length ?? 0) > 0);
  return (train?.attempts ?? []).filter(({ is_gap, is_known }) => is_gap || !is_known);
}
