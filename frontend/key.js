// The key over a chart: which colour is which run, and what solid, dashed, ring and cross mean.

import { HIDDEN_DASH } from "./attempts.js";
import { TRAIN_DASHES, VAL_DASHES, cssColour } from "./colours.js";
import { make, makeSvg } from "./dom.js";
import { EVALUATED, splitOf } from "./views.js";

/** @typedef {import("./types.js").Run} Run */
/** @typedef {import("./types.js").Curve} Curve */
/** @typedef {import("./colours.js").Colours} Colours */

/**
 * @typedef {object} KeyQuestion
 * @prop {Run[]} runs      none where the chart itself names them
 * @prop {Curve[]} curves
 * @prop {Curve[]} hidden
 * @prop {Colours} colours
 * @prop {boolean} isEpochs whether it is the chart that draws unfinished epochs as rings and evaluations as diamonds
 * @prop {boolean} hasRanks whether it draws the spread of ranks
 */

/**
 * Draw the key anew if it is another.
 * @param {HTMLElement} root
 * @param {KeyQuestion} question
 */
export function drawKey(root, { runs, curves, hidden, colours, isEpochs, hasRanks }) {
  const splits = [...new Set(curves.map((curve) => splitOf(curve.series)))].sort((a, b) => rankSplit(a) - rankSplit(b) || a.localeCompare(b));
  const isOpen = isEpochs && curves.some((curve) => curve.complete?.includes(false));
  const isBroken = curves.some((curve) => curve.nonfinite.some((count) => count > 0));
  const isSpread = hasRanks && curves.some((curve) => curve.rank_low?.some((low) => low !== null));
  const isMany = isEpochs && curves.some((curve) => curve.epochs?.some((epochs) => epochs > 1));
  const isResumed = curves.some((curve) => (curve.attempts?.length ?? 0) > 0);
  const is = JSON.stringify([runs.map((run) => [run.run, run.name, run.colour]), splits, isOpen, isBroken, isSpread, isMany, hidden.length > 0, isResumed]);
  if (root.dataset["is"] === is) return;
  root.dataset["is"] = is;
  const drawn = runs.map((run) => {
    const look = colours.look(run.run);
    const name = make("span", { class: "key-name" }, run.name);
    return item("key-run", line(TRAIN_DASHES[look.dash] ?? "solid", cssColour(look)), name);
  });
  const marks = [];
  if (splits.length > 1) for (const split of splits) marks.push(item("", pictureSplit(split, isEpochs), split));
  if (isSpread) marks.push(item("", band(), "ranks, least to greatest"));
  if (isMany) marks.push(item("", band(), "epochs of a point, least to greatest"));
  if (isOpen) marks.push(item("", ring(), "epoch not complete"));
  if (isBroken) marks.push(item("", cross(), "not finite"));
  if (isResumed) marks.push(item("", start(), "attempt begins"));
  if (hidden.length > 0) marks.push(item("", line(HIDDEN_DASH, "currentColor"), "hidden"));
  root.replaceChildren(...drawn, ...marks);
}

/** @param {string} split */
function rankSplit(split) {
  return split === "train" ? 0 : split === EVALUATED ? 2 : 1;
}

/**
 * @param {string} name
 * @param {...(Node|string)} children
 */
function item(name, ...children) {
  return make("span", { class: `key-item ${name}` }, ...children);
}

/** @param {SVGElement} shape */
function picture(shape) {
  const svg = makeSvg("svg", { viewBox: "0 0 20 10", width: 20, height: 10, "aria-hidden": "true" });
  svg.append(shape);
  return svg;
}

/**
 * @param {string} dash
 * @param {string} colour
 */
function line(dash, colour) {
  const array = { solid: "none", longdash: "8 3", longdashdot: "8 2 2 2" }[dash] ?? dash.replaceAll("px", "").replaceAll(",", " ");
  const shape = makeSvg("path", { d: "M0 5h20", "stroke-width": 2, "stroke-dasharray": array });
  shape.style.stroke = colour;
  return picture(shape);
}

/**
 * @param {string} split
 * @param {boolean} isEpochs
 */
function pictureSplit(split, isEpochs) {
  if (isEpochs && split === EVALUATED) return picture(makeSvg("path", { d: "M10 1l4 4-4 4-4-4z", fill: "currentColor", stroke: "none" }));
  return line(split === "train" ? "solid" : (VAL_DASHES[0] ?? ""), "currentColor");
}

function band() {
  return picture(makeSvg("path", { d: "M0 1h20v8H0z", fill: "currentColor", stroke: "none", opacity: 0.3 }));
}

function ring() {
  return picture(makeSvg("circle", { cx: 10, cy: 5, r: 3.5, fill: "none", stroke: "currentColor", "stroke-width": 1.5 }));
}

function start() {
  return picture(makeSvg("path", { d: "M8 1l7 4-7 4z", fill: "currentColor", stroke: "none" }));
}

function cross() {
  return picture(makeSvg("path", { d: "M7 2l6 6M13 2l-6 6", stroke: "currentColor", "stroke-width": 1.5 }));
}
