// The batch chart's figure: every batch's loss with the band that thinning hid, or the running mean of the epoch.

import { formatCounted, formatExact } from "./format.js";
import { describeNonfinite, finite, layOut, markNonfinite, nameAxes, nameCurve, styleLine } from "./figure-parts.js";
import { splitOf } from "./views.js";

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
 * @prop {Mode} mode
 * @prop {"batch"|"items"|"time"} axis
 * @prop {string} unit
 * @prop {(run: string) => Look} look
 * @prop {(run: string) => number} start  unix s of the run's first record
 * @prop {Ink} ink
 * @prop {Size} size
 */

const MARKED_POINTS = 60;
const BREAK = -1; // in a list of indices: the line ends here and another begins
const BAND_OPACITY = 0.2;

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
  const { cells, axis, mode, unit, ink, size } = question;
  const curves = cells.flatMap((cell) => cell.curves);
  const time = pickTimeUnit(curves, question);
  const titles = { batch: "Batches seen in training", items: "Items seen in training", time: `Time since the run’s first record (${time.name})` };
  const hovers = { batch: " batches", items: " items", time: ` ${time.name}` };
  const layout = layOut({
    ink, size, cells, xTitle: titles[axis], yTitle: `Loss per ${unit}`, hoverTitle: hovers[axis],
    revision: `${axis} ${mode} ${axis === "time" ? time.name : ""} ${cells.length}`,
  });
  const data = cells.flatMap((cell, i) => {
    const place = (/** @type {Curve} */ curve) => placeX(curve, question, time);
    return [
      ...(mode === "batch" ? cell.curves.flatMap((curve) => drawBand(curve, i, place(curve), question)) : []),
      ...cell.curves.flatMap((curve) => drawCurve(curve, i, place(curve), question)),
    ];
  });
  return { data, layout };
}

/**
 * @param {Curve} curve
 * @param {number} cell
 * @param {(x: number) => number} place
 * @param {BatchQuestion} question
 * @returns {object[]}
 */
function drawCurve(curve, cell, place, question) {
  const axes = nameAxes(cell);
  const line = styleLine(curve, question.look(curve.run), question.ink);
  const values = curve.views[question.mode] ?? [];
  const points = keepPoints(curve, question);
  const isVal = splitOf(curve.series) !== "train";
  const isStack = isVal && question.mode === "batch"; // a pass's batches stand on one x: dots, since a line would be a scrawl
  const trace = {
    type: "scatter", xaxis: axes.x, yaxis: axes.y, name: nameCurve(curve),
    x: points.map((i) => (i === BREAK ? null : place(curve.x[i] ?? 0))), y: points.map((i) => finite(values[i])), text: points.map((i) => describe(curve, i, question)),
    hovertemplate: "%{text}", mode: isStack ? "markers" : points.length <= MARKED_POINTS ? "lines+markers" : "lines",
    line: { ...line, width: 1.5 }, ...(isStack && { error_y: spanPasses(curve, points, line.color) }),
    marker: isStack ? { size: 4, color: "rgba(0,0,0,0)", line: { color: line.color, width: 1 } } : { size: 4, color: line.color },
  };
  const marks = (curve.events ?? []).map(({ x, epoch, batch, loss }) => ({ x: place(x), text: describeNonfinite(loss, epoch, batch) }));
  return [trace, ...markNonfinite(axes, nameCurve(curve), line.color, marks)];
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
 * Fill between each bucket's least and greatest, one closed shape for each stretch without a gap.
 * @param {Curve} curve
 * @param {number} cell
 * @param {(x: number) => number} place
 * @param {BatchQuestion} question
 * @returns {object[]}
 */
function drawBand(curve, cell, place, question) {
  const { low, high } = curve;
  if (!low || !high || splitOf(curve.series) !== "train" || !curve.count.some((count) => count > 1)) return [];
  const axes = nameAxes(cell);
  const { color } = styleLine(curve, question.look(curve.run), question.ink);
  /** @type {(number|null)[]} */
  const xs = [];
  /** @type {(number|null)[]} */
  const ys = [];
  for (const stretch of stretches(low, high)) {
    const back = [...stretch].reverse();
    xs.push(...stretch.map((i) => place(curve.x[i] ?? 0)), ...back.map((i) => place(curve.x[i] ?? 0)), null);
    ys.push(...stretch.map((i) => finite(high[i])), ...back.map((i) => finite(low[i])), null);
  }
  return [{
    type: "scatter", xaxis: axes.x, yaxis: axes.y, x: xs, y: ys, mode: "lines", fill: "toself", fillcolor: fade(color, BAND_OPACITY),
    line: { width: 0.5, color: fade(color, BAND_OPACITY) }, hoverinfo: "skip", meta: "band",
  }];
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
function describe(curve, i, { mode, unit }) {
  const value = `${formatExact(curve.views[mode]?.[i])} per ${unit}`;
  const epoch = curve.epoch[i];
  const where = `${epoch === null || epoch === undefined ? "" : `epoch ${epoch}, `}batch ${curve.batch[i] ?? "–"}`;
  const count = curve.count[i] ?? 1;
  if (mode === "running" || count < 2) return `${value} · ${where}`;
  const range = `${formatExact(curve.low?.[i])} to ${formatExact(curve.high?.[i])}`;
  return `${value} (${range}) · ${formatCounted(count, "batch", "batches")} to ${where}`;
}

/**
 * @param {WireNumber[]} low
 * @param {WireNumber[]} high
 * @returns {number[][]}
 */
function stretches(low, high) {
  /** @type {number[][]} */
  const found = [];
  /** @type {number[]} */
  let current = [];
  low.forEach((_, i) => {
    if (finite(low[i]) !== null && finite(high[i]) !== null) return void current.push(i);
    if (current.length > 0) found.push(current);
    current = [];
  });
  if (current.length > 0) found.push(current);
  return found;
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

/**
 * @param {string} rgb  as getComputedStyle gives it
 * @param {number} opacity
 */
function fade(rgb, opacity) {
  return rgb.replace("rgb(", "rgba(").replace(")", `, ${opacity})`);
}
