// The key over a chart: which colour is which run, and what solid, dashed, ring and cross mean.

import { TRAIN_DASHES, VAL_DASHES } from "./colours.js";
import { make, makeSvg } from "./dom.js";
import { splitOf } from "./views.js";

/** @typedef {import("./types.js").Run} Run */
/** @typedef {import("./types.js").Curve} Curve */
/** @typedef {import("./colours.js").Colours} Colours */

/**
 * @typedef {object} KeyQuestion
 * @prop {Run[]} runs      none where the chart itself names them
 * @prop {Curve[]} curves
 * @prop {Colours} colours
 * @prop {boolean} hasOpen whether the chart draws unfinished epochs as rings
 */

/**
 * Draw the key anew if it is another.
 * @param {HTMLElement} root
 * @param {KeyQuestion} question
 */
export function drawKey(root, { runs, curves, colours, hasOpen }) {
  const splits = [...new Set(curves.map((curve) => splitOf(curve.series)))].sort();
  const isOpen = hasOpen && curves.some((curve) => curve.complete?.includes(false));
  const isBroken = curves.some((curve) => curve.nonfinite.some((count) => count > 0));
  const is = JSON.stringify([runs.map((run) => [run.run, run.name]), splits, isOpen, isBroken]);
  if (root.dataset["is"] === is) return;
  root.dataset["is"] = is;
  const drawn = runs.map((run) => {
    const { hue, dash } = colours.look(run.run);
    const name = make("span", { class: "key-name" }, run.name);
    return item("key-run", line(TRAIN_DASHES[dash] ?? "solid", `var(--run-${hue})`), name);
  });
  const marks = [];
  if (splits.length > 1) for (const split of splits) marks.push(item("", line(split === "train" ? "solid" : (VAL_DASHES[0] ?? ""), "currentColor"), split));
  if (isOpen) marks.push(item("", ring(), "epoch not complete"));
  if (isBroken) marks.push(item("", cross(), "not finite"));
  root.replaceChildren(...drawn, ...marks);
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

function ring() {
  return picture(makeSvg("circle", { cx: 10, cy: 5, r: 3.5, fill: "none", stroke: "currentColor", "stroke-width": 1.5 }));
}

function cross() {
  return picture(makeSvg("path", { d: "M7 2l6 6M13 2l-6 6", stroke: "currentColor", "stroke-width": 1.5 }));
}
