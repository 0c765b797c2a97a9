// The batch chart's figure: every batch's loss with the band that thinning hid and a smooth curve over it, or the running mean of the epoch.

import { drawHidden, drawStarts, findGaps, isApart } from "./attempts.js";
import { drawBand, fade } from "./band.js";
import { titleDifference } from "./difference.js";
import { describeNonfinite, finite, layOut, markNonfinite, nameAxes, nameCurve, styleLine } from "./figure-parts.js";
import { formatCounted, formatExact } from "./format.js";
import { labelMeaning, labelMeanings } from "./meaning.js";
import { tellHalfLife } from "./smoothing.js";
import { splitOf, titleLoss } from "./views.js";

/** @typedef {import("./types.js").Curve} Curve */
/** @typedef {import("./types.js").Mode} Mode */
/** @typedef {import("./types.js").WireNumber} WireNumber */
/** @typedef {import("./figure-parts.js").Cell} Cell */
/** @typedef {import("./figure-parts.js").Ink} Ink */
/** @typedef {import("./figure-parts.js").Size} Size */
/** @typedef {import("./colours.js").Look} Look */
/** @typedef {{name: string, seconds: number}} TimeUnit */

/**
 * @typedef {object} BatchQuestion
 * @prop {Cell[]} cells
 * @prop {import("./types.js").Run|null} baseline
 * @prop {Mode} mode
 * @prop {"batch"|"step"|"items"|"time"} axis
 * @prop {number|null} smooth  half-life of the smooth curve in items, where one is drawn
 * @prop {boolean} sharesY
 * @prop {(run: string) => Look} look
 * @prop {(run: string) => number} start  unix s of the run's first record
 * @prop {Ink} ink
 * @prop {Size} size
 */

const MARKED_POINTS = 60;
const BREAK = -1; // in a list of indices: the line ends here and another begins
const RAW_OPACITY = 0.4; // of the curve that a smooth one is drawn over

/** @type {TimeUnit[]} */
const TIME_UNITS = [
  { name: "d", seconds: 86_400 },
  { name: "h", seconds: 3600 },
  { name: "min", seconds: 60 },
];

/**
 * @param {BatchQuestion} question
 * @returns {import("./chart.js").Figure}
 */
export function figureBatches(question) {
  const { cells, axis, mode, ink, size, sharesY } = question;
  const curves = cells.flatMap((cell) => cell.curves);
  const time = pickTimeUnit(curves, question);
  const titles = { batch: "Batches seen in training", step: "Optimizer steps", items: "Items seen in training", time: `Time since the run’s first record (${time.name})` };
  const hovers = { batch: " batches", step: " steps", items: " items", time: ` ${time.name}` };
  const layout = layOut({
    ink, size, cells, sharesY, xTitle: titles[axis], yTitle: titleDifference(titleLoss(labelMeanings(curves)), question.baseline), hasZero: question.baseline !== null, hoverTitle: hovers[axis],
    revision: `${axis} ${mode} ${axis === "time" ? time.name : ""} ${cells.length}`,
  });
  const data = cells.flatMap((cell, i) => {
    const place = (/** @type {Curve} */ curve) => placeX(curve, question, time);
    const pen = (/** @type {Curve} */ curve) => ({ cell: i, look: question.look, ink, place: place(curve) });
    return [
      ...cell.hidden.flatMap((curve) => drawHidden(curve, mode, curve.x, pen(curve))),
      ...(mode === "batch" ? cell.curves.flatMap((curve) => drawThinned(curve, i, place(curve), question)) : []),
      ...cell.curves.flatMap((curve) => drawCurve(curve, i, place(curve), question, findGaps(cell.curves, curve))),
      ...cell.curves.flatMap((curve) => drawSmooth(curve, i, place(curve), question)),
      ...cell.curves.flatMap((curve) => drawStarts(curve, pen(curve))),
    ];
  });
  return { data, layout };
}

/**
 * @param {Curve} curve
 * @param {number} cell
 * @param {(x: number) => number} place
 * @param {BatchQuestion} question
 * @param {import("./types.js").AttemptMark[]} gaps
 * @returns {object[]}
 */
function drawCurve(curve, cell, place, question, gaps) {
  const axes = nameAxes(cell);
  const line = styleLine(curve, question.look(curve.run), question.ink);
  const values = curve.views[question.mode] ?? [];
  const points = keepPoints(curve, question).flatMap((i) => {
    const at = (/** @type {number} */ j) => ({ epoch: curve.epoch[j], batch: curve.batch[j] });
    return gaps.length > 0 && i > 0 && isApart(gaps, at(i - 1), at(i)) ? [BREAK, i] : [i];
  });
  const isVal = splitOf(curve.series) !== "train";
  // A pass's batches stand on one x, and so do those of a large step: dots, since a line would be a scrawl.
  const isPass = isVal && question.mode === "batch";
  const isStack = isPass || (question.mode === "batch" && question.axis === "step" && curve.x.some((x, i) => x !== null && x === curve.x[i + 1]));
  const isUnder = smoothOf(curve, question) !== null;
  const trace = {
    type: "scatter", xaxis: axes.x, yaxis: axes.y, name: nameCurve(curve),
    x: points.map((i) => (i === BREAK || (curve.x[i] ?? null) === null ? null : place(curve.x[i] ?? 0))), y: points.map((i) => finite(values[i])), text: points.map((i) => describe(curve, i, question)),
    hovertemplate: "%{text}", mode: isStack ? "markers" : points.length <= MARKED_POINTS ? "lines+markers" : "lines",
    line: isUnder ? { ...line, width: 1, color: fade(line.color, RAW_OPACITY) } : { ...line, width: 1.5 }, ...(isPass && { error_y: spanPasses(curve, points, line.color) }),
    marker: isPass ? { size: 4, color: "rgba(0,0,0,0)", line: { color: line.color, width: 1 } } : { size: 4, color: line.color },
  };
  const marks = (curve.events ?? []).map(({ x, epoch, batch, loss }) => ({ x: place(x), text: describeNonfinite(loss, epoch, batch) }));
  return [trace, ...markNonfinite(axes, nameCurve(curve), line.color, marks)];
}

/**
 * The smooth curve, over the raw one and never instead of it.
 * @param {Curve} curve
 * @param {number} cell
 * @param {(x: number) => number} place
 * @param {BatchQuestion} question
 * @returns {object[]}
 */
function drawSmooth(curve, cell, place, question) {
  const values = smoothOf(curve, question);
  if (!values || question.smooth === null) return [];
  const axes = nameAxes(cell);
  const halfLife = tellHalfLife(question.smooth);
  return [{
    type: "scatter", xaxis: axes.x, yaxis: axes.y, name: nameCurve(curve), x: curve.x.map(place), y: values.map(finite), mode: "lines",
    text: values.map((value) => `${formatExact(value)} smoothed · ${halfLife}`), hovertemplate: "%{text}",
    line: { ...styleLine(curve, question.look(curve.run), question.ink), width: 2 }, meta: "smooth",
  }];
}

/**
 * @param {Curve} curve
 * @param {BatchQuestion} question
 * @returns {WireNumber[]|null} null where the curve has no smooth one
 */
function smoothOf(curve, { mode, smooth }) {
  const values = mode === "batch" && smooth !== null && splitOf(curve.series) === "train" ? curve.views["smooth"] : null;
  return values?.some((value) => finite(value) !== null) ? values : null;
}

/**
 * The band between each bucket's least and greatest; none where every record is drawn anyway.
 * @param {Curve} curve
 * @param {number} cell
 * @param {(x: number) => number} place
 * @param {BatchQuestion} question
 * @returns {object[]}
 */
function drawThinned(curve, cell, place, question) {
  if (splitOf(curve.series) !== "train" || !curve.count.some((count) => count > 1)) return [];
  const { color } = styleLine(curve, question.look(curve.run), question.ink);
  return drawBand({ xs: curve.x.map(place), low: curve.low, high: curve.high, color, axes: nameAxes(cell), meta: "band" });
}

/**
 * A line from the least to the greatest of a pass's batches; between passes there is nothing to fill.
 * @param {Curve} curve
 * @param {number[]} points
 * @param {string} color
 */
function spanPasses(curve, points, color) {
  const reach = (/** @type {WireNumber[]|null} */ to, /** @type {number} */ i) => {
    const [end, middle] = [finite(to?.[i]), finite(curve.views["batch"]?.[i])];
    return end === null || middle === null ? 0 : Math.abs(end - middle);
  };
  return {
    type: "data", symmetric: false, width: 0, thickness: 1, color,
    array: points.map((i) => reach(curve.high, i)), arrayminus: points.map((i) => reach(curve.low, i)),
  };
}

/**
 * The indices to draw: all of them; but a running mean begins anew with each epoch, and of a
 * pass's only the end is drawn, which is the pass's value.
 * @param {Curve} curve
 * @param {BatchQuestion} question
 * @returns {number[]}
 */
function keepPoints(curve, { mode }) {
  const all = curve.x.map((_, i) => i);
  if (mode === "batch") return all;
  if (splitOf(curve.series) === "train") return all.flatMap((i) => (i > 0 && curve.epoch[i] !== curve.epoch[i - 1] ? [BREAK, i] : [i]));
  return all.filter((i) => curve.x[i] !== curve.x[i + 1]);
}

/**
 * @param {Curve} curve
 * @param {number} i
 * @param {BatchQuestion} question
 */
function describe(curve, i, { mode, baseline }) {
  const value = titleDifference(`${formatExact(curve.views[mode]?.[i])} ${labelMeaning(curve)}`, baseline);
  const epoch = curve.epoch[i];
  const where = `${epoch === null || epoch === undefined ? "" : `epoch ${epoch}, `}batch ${curve.batch[i] ?? "–"}`;
  const count = curve.count[i] ?? 1;
  if (mode === "running" || count < 2) return `${value} · ${where}`;
  const range = curve.low ? ` (${formatExact(curve.low[i])} to ${formatExact(curve.high?.[i])})` : "";
  return `${value}${range} · ${formatCounted(count, "batch", "batches")} to ${where}`;
}

/**
 * @param {Curve} curve
 * @param {BatchQuestion} question
 * @param {TimeUnit} time
 * @returns {(x: number) => number}
 */
function placeX(curve, { axis, start }, time) {
  if (axis !== "time") return (x) => x;
  const first = start(curve.run);
  return (x) => (x - first) / time.seconds;
}

/**
 * @param {Curve[]} curves
 * @param {BatchQuestion} question
 * @returns {TimeUnit}
 */
function pickTimeUnit(curves, { axis, start }) {
  const longest = axis === "time" ? Math.max(0, ...curves.map((curve) => (curve.x.at(-1) ?? 0) - start(curve.run))) : 0;
  return TIME_UNITS.find((unit) => longest >= 3 * unit.seconds) ?? { name: "s", seconds: 1 };
}
