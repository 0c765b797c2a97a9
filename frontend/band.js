// A filled band between a least and a greatest, as one closed shape for each stretch without a gap.

import { finite } from "./figure-parts.js";

/** @typedef {import("./types.js").WireNumber} WireNumber */

/**
 * @typedef {object} BandQuestion
 * @prop {(number|null)[]} xs
 * @prop {WireNumber[]|null|undefined} low
 * @prop {WireNumber[]|null|undefined} high
 * @prop {string} color
 * @prop {import("./figure-parts.js").AxisNames} axes
 * @prop {string} meta   what the trace is called among the figure's traces
 */

const OPACITY = 0.2;

/**
 * @param {BandQuestion} question
 * @returns {object[]} no trace where there is nothing to fill
 */
export function drawBand({ xs, low, high, color, axes, meta }) {
  if (!low || !high) return [];
  /** @type {(number|null)[]} */
  const x = [];
  /** @type {(number|null)[]} */
  const y = [];
  for (const stretch of stretches(xs, low, high)) {
    const back = [...stretch].reverse();
    x.push(...stretch.map((i) => xs[i] ?? null), ...back.map((i) => xs[i] ?? null), null);
    y.push(...stretch.map((i) => finite(high[i])), ...back.map((i) => finite(low[i])), null);
  }
  if (x.length === 0) return [];
  return [{
    type: "scatter", xaxis: axes.x, yaxis: axes.y, x, y, mode: "lines", fill: "toself", fillcolor: fade(color, OPACITY),
    line: { width: 0.5, color: fade(color, OPACITY) }, hoverinfo: "skip", meta,
  }];
}

/**
 * @param {string} rgb  as getComputedStyle gives it
 * @param {number} opacity
 */
export function fade(rgb, opacity) {
  return rgb.replace("rgb(", "rgba(").replace(")", `, ${opacity})`);
}

/**
 * @param {(number|null)[]} xs
 * @param {WireNumber[]} low
 * @param {WireNumber[]} high
 * @returns {number[][]} indices
 */
function stretches(xs, low, high) {
  /** @type {number[][]} */
  const found = [];
  /** @type {number[]} */
  let current = [];
  xs.forEach((x, i) => {
    if (x !== null && finite(low[i]) !== null && finite(high[i]) !== null) return void current.push(i);
    if (current.length > 0) found.push(current);
    current = [];
  });
  if (current.length > 0) found.push(current);
  return found;
}
