// The epoch chart's figure: one point an epoch in the chosen view, open where the epoch still runs.

import { drawHidden, drawStarts, findGaps, isApart } from "./attempts.js";
import { drawBand } from "./band.js";
import { titleDifference } from "./difference.js";
import { finite, layOut, markNonfinite, nameAxes, nameCurve, styleLine } from "./figure-parts.js";
import { formatCounted, formatExact, formatLoss } from "./format.js";
import { labelMeanings, tellView } from "./meaning.js";
import { EVALUATED, splitOf, titleView } from "./views.js";

/** @typedef {import("./types.js").Curve} Curve */
/** @typedef {import("./types.js").ViewName} ViewName */
/** @typedef {import("./figure-parts.js").Cell} Cell */
/** @typedef {import("./figure-parts.js").Ink} Ink */
/** @typedef {import("./figure-parts.js").Size} Size */
/** @typedef {import("./colours.js").Look} Look */
/** @typedef {{run: string, series: string, epoch: number}} PickedEpoch  what a drawn point stands for */
/** @typedef {import("./types.js").AttemptMark} AttemptMark */
/** @typedef {import("./types.js").HiddenCurve} HiddenCurve */
/** @typedef {{x: number|null, y: number|null, text: string, isDone: boolean, epoch: number|null, at: Place}} Point  at: whether it can be asked about or not */
/** @typedef {{epoch: number|null, batch: number}} Place */

/**
 * @typedef {object} EpochQuestion
 * @prop {Cell[]} cells
 * @prop {ViewName} view
 * @prop {import("./types.js").Run|null} baseline
 * @prop {boolean} byItems  over items seen in training, else over epochs
 * @prop {boolean} sharesY
 * @prop {(run: string) => Look} look
 * @prop {Ink} ink
 * @prop {Size} size
 */

const MARKED_POINTS = 60; // fewer points than this are also dots
const SUMS = ["raw_sum", "normalized_sum"]; // of an unfinished epoch these are far below the next: no line leads there

/**
 * @param {EpochQuestion} question
 * @returns {import("./chart.js").Figure}
 */
export function figureEpochs(question) {
  const { cells, view, byItems, ink, size, sharesY } = question;
  const curves = cells.flatMap((cell) => cell.curves);
  const layout = layOut({
    ink, size, cells, sharesY, xTitle: byItems ? "Items seen in training" : "Epoch", yTitle: titleDifference(titleView(view, labelMeanings(curves)), question.baseline), hasZero: question.baseline !== null,
    hoverTitle: byItems ? " items" : "", revision: `${view} ${byItems} ${cells.length}`,
  });
  if (!byItems) layout["xaxis"].unifiedhovertitle = { text: "epoch %{x:.4~g}" };
  const data = cells.flatMap((cell, i) => [
    ...cell.curves.flatMap((curve) => [...drawRanks(curve, i, question), ...drawSpread(curve, i, question)]),
    ...cell.hidden.flatMap((curve) => drawBeside(curve, cell, i, question)),
    ...cell.curves.flatMap((curve) => drawCurve(curve, i, question, findGaps(cell.curves, curve))),
    ...cell.curves.flatMap((curve) => drawStarts(curve, penOf(i, question), byItems ? (mark) => findItems(curve, mark) : undefined)),
  ]);
  setShortAxis(layout, curves, byItems);
  return { data, layout };
}

/**
 * @param {Curve} curve
 * @param {number} cell
 * @param {EpochQuestion} question
 * @param {AttemptMark[]} gaps
 * @returns {object[]}
 */
function drawCurve(curve, cell, question, gaps) {
  const axes = nameAxes(cell);
  const line = styleLine(curve, question.look(curve.run), question.ink);
  const points = readPoints(curve, question);
  const done = points.filter((point) => point.isDone);
  const open = points.filter((point) => !point.isDone && point.y !== null);
  const base = { type: "scatter", xaxis: axes.x, yaxis: axes.y, name: nameCurve(curve), hovertemplate: "%{text}" };
  const isEvaluated = splitOf(curve.series) === EVALUATED;
  const marker = isEvaluated ? { size: 8, symbol: "diamond", color: line.color } : { size: 5, color: line.color };
  const traces = [];
  if (done.length > 0) {
    const apart = breakLine(done, gaps);
    traces.push({ ...base, ...columns(apart), ...picks(curve, apart), mode: done.length <= MARKED_POINTS ? "lines+markers" : "lines", line, marker });
  }
  if (open.length > 0) {
    const last = done.at(-1);
    if (last && !SUMS.includes(question.view) && !isApart(gaps, last.at, (open[0] ?? last).at)) {
      traces.push({ ...base, ...columns([last, ...open]), mode: "lines", hoverinfo: "skip", hovertemplate: null, line: { ...line, width: 1, dash: "dot" } });
    }
    const ring = { size: 8, color: question.ink.ground, line: { color: line.color, width: 2 } };
    traces.push({ ...base, ...columns(open), ...picks(curve, open), mode: "markers", marker: ring });
  }
  return [...traces, ...markNonfinite(axes, nameCurve(curve), line.color, readMarks(curve, points))];
}

/**
 * Put a gap into a line where records are missing.
 * @param {Point[]} points
 * @param {AttemptMark[]} gaps
 * @returns {Point[]}
 */
function breakLine(points, gaps) {
  return points.flatMap((point, i) => {
    const before = points[i - 1];
    const gap = { x: null, y: null, text: "", isDone: true, epoch: null, at: point.at };
    return before && isApart(gaps, before.at, point.at) ? [gap, point] : [point];
  });
}

/**
 * A hidden stretch, from the visible epoch before it on.
 * @param {HiddenCurve} curve
 * @param {Cell} cell
 * @param {number} i
 * @param {EpochQuestion} question
 */
function drawBeside(curve, cell, i, question) {
  const xs = placePoints(curve, question).map((x) => x ?? 0);
  const visible = cell.curves.find(({ run, series }) => run === curve.run && series === curve.series);
  const points = visible ? readPoints(visible, question) : [];
  const before = points.findLast(({ x, at }) => x !== null && x < (xs[0] ?? 0) && at.epoch !== null && at.epoch + 1 >= (curve.from_epoch ?? 0));
  const branch = before && before.x !== null && before.y !== null ? { x: before.x, y: before.y } : null;
  return drawHidden(curve, question.view, xs, penOf(i, question), branch);
}

/**
 * @param {number} cell
 * @param {EpochQuestion} question
 * @returns {import("./attempts.js").Pen}
 */
function penOf(cell, { look, ink }) {
  return { cell, look, ink, place: (x) => x };
}

/**
 * The items before an attempt's beginning: those at the end of the epoch before, and its share of the epoch that it cuts.
 * @param {Curve} curve
 * @param {AttemptMark} mark
 */
function findItems({ x: xs, items }, { x }) {
  const at = xs.findIndex((other) => x !== null && other >= x);
  const [start, end] = [items?.[at - 1] ?? 0, items?.[at] ?? null];
  if (x === null || at < 0 || end === null) return null;
  return start + (end - start) * Math.max(0, Math.min(1, x - (xs[at] ?? 0) + 1));
}

/**
 * The band from the least to the greatest of the ranks, which only the number per item has.
 * @param {Curve} curve
 * @param {number} cell
 * @param {EpochQuestion} question
 * @returns {object[]}
 */
function drawRanks(curve, cell, question) {
  if (question.view !== "per_item") return [];
  const { color } = styleLine(curve, question.look(curve.run), question.ink);
  return drawBand({ xs: placePoints(curve, question), low: curve.rank_low, high: curve.rank_high, color, axes: nameAxes(cell), meta: "ranks" });
}

/**
 * The band from the least to the greatest epoch of each point, where one stands for several.
 * @param {Curve} curve
 * @param {number} cell
 * @param {EpochQuestion} question
 * @returns {object[]}
 */
function drawSpread(curve, cell, question) {
  const band = curve.bands?.[question.view];
  if (!band) return [];
  const { color } = styleLine(curve, question.look(curve.run), question.ink);
  return drawBand({ xs: placePoints(curve, question), low: band.low, high: band.high, color, axes: nameAxes(cell), meta: "epochs" });
}

/**
 * Say which epochs a point stands for, and what lies between the least and the greatest of them.
 * @param {Curve} curve
 * @param {ViewName} view
 * @param {number} i
 * @returns {string|null} null where it stands for one
 */
function tellSpan(curve, view, i) {
  const epochs = curve.epochs?.[i] ?? 1;
  const last = curve.epoch[i] ?? null;
  if (epochs < 2 || last === null) return null;
  const band = curve.bands?.[view];
  const spread = band ? ` · ${formatLoss(band.low[i])} to ${formatLoss(band.high[i])} in an epoch` : "";
  return `${spread} · ${epochs} epochs up to ${last}`;
}

/**
 * @param {Curve} curve
 * @param {EpochQuestion} question
 */
function placePoints(curve, { byItems }) {
  return byItems && curve.items ? curve.items : curve.x;
}

/**
 * @param {Curve} curve
 * @param {EpochQuestion} question
 * @returns {Point[]}
 */
function readPoints(curve, question) {
  const { view } = question;
  const values = curve.views[view] ?? [];
  return placePoints(curve, question).map((x, i) => {
    const isDone = curve.complete?.[i] ?? true;
    const counted = formatCounted(curve.count[i] ?? 0, "batch", "batches");
    const [low, high] = view === "per_item" ? [curve.rank_low?.[i], curve.rank_high?.[i]] : [];
    const ranks = low !== undefined && low !== null ? ` · ranks ${formatLoss(low)} to ${formatLoss(high)}` : "";
    const span = tellSpan(curve, view, i);
    const where = span ?? `${ranks} · epoch ${curve.epoch[i] ?? "–"}`;
    const value = titleDifference(`${formatExact(values[i])} ${tellView(view, curve)}`, question.baseline);
    const text = `${value}${where}, ${counted}${isDone ? "" : " so far"}`;
    const epoch = span === null ? (curve.epoch[i] ?? null) : null; // several epochs have no number to ask for
    const isLastPass = curve.epoch[i + 1] !== curve.epoch[i]; // an earlier pass has numbers of its own, which nobody can ask for
    return { x, y: finite(values[i]), text, isDone, epoch: isLastPass ? epoch : null, at: { epoch, batch: curve.batch[i] ?? 0 } };
  });
}

/**
 * @param {Curve} curve
 * @param {Point[]} points
 */
function readMarks(curve, points) {
  return points.flatMap((point, i) => {
    const count = curve.nonfinite[i] ?? 0;
    return count > 0 && point.x !== null ? [{ x: point.x, text: `epoch ${curve.epoch[i] ?? "–"}: ${count} of ${curve.count[i]} losses not finite` }] : [];
  });
}

/** @param {Point[]} points */
function columns(points) {
  return { x: points.map(({ x }) => x), y: points.map(({ y }) => y), text: points.map(({ text }) => text) };
}

/**
 * @param {Curve} curve
 * @param {Point[]} points
 * @returns {{customdata: (PickedEpoch|null)[]}}
 */
function picks({ run, series }, points) {
  return { customdata: points.map(({ epoch }) => (epoch === null ? null : { run, series, epoch })) };
}

/**
 * Few epochs want whole ticks, and one epoch a range: Plotly would show −1 to 1.
 * @param {Record<string, any>} layout
 * @param {Curve[]} curves
 * @param {boolean} byItems
 */
function setShortAxis(layout, curves, byItems) {
  const train = curves.filter((curve) => splitOf(curve.series) === "train");
  const all = (train.length > 0 ? train : curves).flatMap((curve) => (byItems && curve.items ? curve.items : curve.x));
  const xs = all.filter((x) => x !== null);
  const [low, high] = [Math.min(...xs), Math.max(...xs)];
  if (xs.length === 0) return;
  for (const axis of Object.keys(layout).filter((key) => key.startsWith("xaxis"))) {
    if (!byItems && high - low < (layout["xaxis2"] ? 6 : 10)) layout[axis].dtick = 1;
    if (low === high) layout[axis].range = byItems ? [0, 2 * (high || 1)] : [low - 1, high + 1];
  }
}
