// What the two figures have in common: ink, cells, axes, marks for what is not a number.

import { TRAIN_DASHES, VAL_DASHES, rgbColour } from "./colours.js";
import { formatNonfinite } from "./format.js";
import { splitOf } from "./views.js";

/** @typedef {import("./types.js").Curve} Curve */
/** @typedef {import("./types.js").WireNumber} WireNumber */
/** @typedef {import("./colours.js").Look} Look */
/** @typedef {{ink: string, soft: string, rule: string, ground: string, hues: string[], font: string}} Ink */
/** @typedef {import("./types.js").HiddenCurve} HiddenCurve */
/** @typedef {{title: string, colour: string, curves: Curve[], hidden: HiddenCurve[]}} Cell  one coordinate system; title empty in an overlay */
/** @typedef {{width: number, height: number}} Size */
/** @typedef {{x: string, y: string, marks: string}} AxisNames  as traces name them */

/**
 * @typedef {object} Frame
 * @prop {Ink} ink
 * @prop {Size} size
 * @prop {Cell[]} cells
 * @prop {string} xTitle
 * @prop {string} yTitle
 * @prop {boolean} hasZero  whether zero is a place of its own: the baseline's
 * @prop {string} hoverTitle   what follows x in the hover's first line
 * @prop {string} revision     the reader's zoom is kept while this stays
 * @prop {boolean} sharesY     one scale for all cells
 */

const MIN_CELL_WIDTH = 300; // px
const MAX_COLUMNS = 4;
const GAP = { x: 44, y: 76 }; // px between cells: tick labels and a title
const MAX_NAME = 34; // characters of a run's name in the hover

/**
 * Read the theme's colours as they are now.
 * @param {HTMLElement} root
 * @returns {Ink}
 */
export function readInk(root) {
  const probe = document.createElement("span");
  root.append(probe);
  const read = (/** @type {string} */ name) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  const hues = Array.from({ length: 8 }, (_, i) => read(`--run-${i + 1}`));
  const ink = { ink: read("--ink"), soft: read("--soft"), rule: read("--rule"), ground: read("--ground"), hues, font: getComputedStyle(root).fontFamily };
  probe.remove();
  return ink;
}

/**
 * How many columns and rows the cells take.
 * @param {number} count
 * @param {number} width  px
 */
export function layCells(count, width) {
  const fitting = Math.max(1, Math.min(MAX_COLUMNS, Math.floor(width / MIN_CELL_WIDTH)));
  const rows = Math.max(1, Math.ceil(count / fitting));
  return { columns: Math.max(1, Math.ceil(count / rows)), rows };
}

/**
 * @param {number} cell  from 0
 * @returns {AxisNames}
 */
export function nameAxes(cell) {
  const nth = (/** @type {string} */ letter, /** @type {number} */ n) => letter + (n === 1 ? "" : n);
  return { x: nth("x", cell + 1), y: nth("y", 2 * cell + 1), marks: nth("y", 2 * cell + 2) };
}

/**
 * The layout of a figure: cells in a grid that zoom together, each with an axis of its own for marks.
 * @param {Frame} frame
 * @returns {Record<string, any>}
 */
export function layOut(frame) {
  const { ink, size, cells } = frame;
  const { columns, rows } = layCells(cells.length, size.width);
  const isGrid = cells.some((cell) => cell.title);
  const margin = { l: 60, r: 12, t: isGrid ? 26 : 8, b: 44 };
  const share = { x: GAP.x / Math.max(1, size.width - margin.l - margin.r), y: GAP.y / Math.max(1, size.height - margin.t - margin.b) };
  /** @type {Record<string, any>} */
  const layout = {
    width: size.width, height: size.height, margin, showlegend: false, hovermode: "x unified", hoverdistance: 40, dragmode: "zoom", uirevision: frame.revision,
    paper_bgcolor: ink.ground, plot_bgcolor: ink.ground, font: { family: ink.font, size: 12, color: ink.soft },
    hoverlabel: { bgcolor: ink.ground, bordercolor: ink.rule, font: { family: ink.font, size: 12, color: ink.ink }, namelength: -1 },
    annotations: [],
  };
  cells.forEach((cell, i) => {
    const [column, row] = [i % columns, Math.floor(i / columns)];
    const domain = { x: split(column, columns, share.x), y: split(rows - 1 - row, rows, share.y) };
    const isBottom = row === rows - 1 || i + columns >= cells.length;
    addCell(layout, frame, i, domain, { isLeft: column === 0, isBottom });
    if (cell.title) layout["annotations"].push(titleCell(cell, domain, size.width / columns));
  });
  return layout;
}

/**
 * @param {Record<string, any>} layout
 * @param {Frame} frame
 * @param {number} i
 * @param {{x: number[], y: number[]}} domain
 * @param {{isLeft: boolean, isBottom: boolean}} place
 */
function addCell(layout, { ink, cells, xTitle, yTitle, hasZero, hoverTitle, sharesY }, i, domain, { isLeft, isBottom }) {
  const names = nameAxes(i);
  const key = (/** @type {string} */ name) => `${name[0]}axis${name.slice(1)}`;
  const title = (/** @type {string} */ text) => ({ text, standoff: 8, font: { size: 12, color: ink.soft } });
  const isEmpty = cells.every(({ curves, hidden }) => [...curves, ...hidden].every(({ x }) => x.length === 0));
  const numbers = isEmpty && { showticklabels: false, ticks: "" }; // where nothing is drawn Plotly would invent a scale
  layout[key(names.x)] = {
    domain: domain.x, anchor: names.y, title: title(isBottom ? xTitle : ""), tickformat: ",.12~g", zeroline: false, showgrid: false,
    showline: true, linecolor: ink.rule, ticks: "outside", ticklen: 4, tickcolor: ink.rule, showspikes: true, spikethickness: 1,
    spikedash: "solid", spikecolor: ink.rule, spikemode: "across", unifiedhovertitle: { text: `%{x:,.12~g}${hoverTitle}` },
    ...(i > 0 && { matches: "x" }), ...numbers,
  };
  layout[key(names.y)] = {
    domain: domain.y, anchor: names.x, title: title(isLeft ? yTitle : ""), zeroline: hasZero, zerolinecolor: ink.soft, zerolinewidth: 1, gridcolor: ink.rule, gridwidth: 1,
    nticks: 7, exponentformat: "power", ticklabelstandoff: 4, ...(i > 0 && sharesY && { matches: "y" }), ...numbers,
  };
  layout[key(names.marks)] = { overlaying: names.y, anchor: names.x, range: [0, 1], fixedrange: true, visible: false };
}

/**
 * @param {Cell} cell
 * @param {{x: number[], y: number[]}} domain
 * @param {number} width  px
 */
function titleCell(cell, domain, width) {
  return {
    text: plain(shorten(cell.title, Math.floor(width / 8))), xref: "paper", yref: "paper", x: domain.x[0], y: domain.y[1], xanchor: "left",
    yanchor: "bottom", yshift: 4, showarrow: false, font: { size: 12, color: cell.colour },
  };
}

/**
 * Marks at the top of a cell where something was not a number, with a line down to the axis.
 * @param {AxisNames} axes
 * @param {string} name
 * @param {string} colour
 * @param {{x: number, text: string}[]} marks
 * @returns {object[]}
 */
export function markNonfinite(axes, name, colour, marks) {
  if (marks.length === 0) return [];
  const base = { type: "scatter", xaxis: axes.x, yaxis: axes.marks, name: plain(name) };
  const lines = { x: marks.flatMap(({ x }) => [x, x, null]), y: marks.flatMap(() => [0, 0.97, null]) };
  return [
    { ...base, ...lines, mode: "lines", hoverinfo: "skip", line: { color: colour, width: 1 }, opacity: 0.25 },
    {
      ...base, x: marks.map(({ x }) => x), y: marks.map(() => 0.97), mode: "markers", text: marks.map(({ text }) => text), hovertemplate: "%{text}",
      marker: { symbol: "x-thin", size: 8, line: { color: colour, width: 2 } }, meta: "nonfinite",
    },
  ];
}

/**
 * @param {Curve} curve
 * @param {Look} look
 * @param {Ink} ink
 */
export function styleLine(curve, look, ink) {
  const isVal = splitOf(curve.series) !== "train";
  return {
    color: rgbColour(look, ink.hues) ?? ink.ink,
    width: isVal ? 1.5 : 2,
    dash: (isVal ? VAL_DASHES : TRAIN_DASHES)[look.dash] ?? "solid",
  };
}

/**
 * A curve's name in the hover: the run, and the split where it is not training.
 * @param {Curve} curve
 * @returns {string}
 */
export function nameCurve(curve) {
  return plain(`${shorten(curve.name, MAX_NAME)} ${splitOf(curve.series)}`);
}

/**
 * Text as Plotly shows it unread: it takes tags and entities for markup.
 * @param {string} text
 */
export function plain(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/**
 * Only what can be drawn on a line; the rest is a gap, and marked elsewhere.
 * @param {WireNumber|undefined} value
 * @returns {number|null}
 */
export function finite(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/**
 * @param {WireNumber} loss
 * @param {number|null} epoch
 * @param {number} batch
 */
export function describeNonfinite(loss, epoch, batch) {
  const what = typeof loss === "string" ? formatNonfinite(loss) : "not a number";
  return `${what} · ${epoch === null ? "" : `epoch ${epoch}, `}batch ${batch}`;
}

/**
 * @param {string} text
 * @param {number} most
 */
function shorten(text, most) {
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

/**
 * @param {number} i
 * @param {number} count
 * @param {number} gap  share of the whole
 */
function split(i, count, gap) {
  const width = (1 - gap * (count - 1)) / count;
  const start = i * (width + gap);
  return [start, Math.min(1, start + width)];
}
