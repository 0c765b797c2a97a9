// The one file that names Plotly: a chart that draws the newest figure it was given and keeps the reader's zoom.

import { createLimiter } from "./limiter.js";

/** @typedef {{data: object[], layout: Record<string, any>}} Figure  as Plotly wants them */
/** @typedef {[number, number]|null} Zoom  the x range the reader chose, in axis units; null is all of it */

/**
 * @typedef {object} Chart
 * @prop {(figure: Figure) => void} draw
 * @prop {() => void} resetZoom
 * @prop {() => void} dispose
 */

const DRAW_INTERVAL_MS = 60; // leaves the page's thread free between drawings of large curves
const PICK_DISTANCE = 12; // px; a click farther off begins a double click, which resets the zoom
const CONFIG = { displayModeBar: false, displaylogo: false, doubleClick: "reset+autosize", showTips: false, plotlyServerURL: "" };

/**
 * Make a chart in an element.
 *
 * Never draws twice at once; of the figures that come meanwhile only the newest is drawn.
 * @param {HTMLElement} root
 * @param {(zoom: Zoom) => void} onZoom
 * @param {(customdata: any) => void} [onPick]  a point with custom data was clicked
 * @returns {Chart}
 */
export function createChart(root, onZoom, onPick) {
  /** @type {Figure|null} */
  let next = null;
  /** @type {any} */
  let plotly = null;
  let isListening = false;

  async function drawNext() {
    plotly ??= await loadPlotly();
    if (!next || root.clientWidth === 0) return;
    const { data, layout } = next;
    next = null;
    await plotly.react(root, data, layout, CONFIG);
    if (isListening) return;
    isListening = true;
    /** @type {any} */ (root).on("plotly_relayout", (/** @type {Record<string, any>} */ change) => {
      const zoom = readZoom(change);
      if (zoom !== undefined) onZoom(zoom);
    });
    /** @type {any} */ (root).on("plotly_click", (/** @type {any} */ click) => {
      const picked = findPicked(root, click);
      if (picked !== undefined) onPick?.(picked);
    });
  }

  const limiter = createLimiter(drawNext, DRAW_INTERVAL_MS);
  return {
    draw(figure) {
      next = figure;
      limiter.ask();
    },
    resetZoom() {
      if (!isListening) return;
      const axes = Object.keys(/** @type {any} */ (root).layout).filter((key) => /^[xy]axis\d*$/.test(key) && !isMarkAxis(root, key));
      plotly.relayout(root, Object.fromEntries(axes.map((axis) => [`${axis}.autorange`, true])));
    },
    dispose() {
      limiter.dispose();
      if (isListening) plotly.purge(root);
    },
  };
}

/**
 * @param {HTMLElement} root
 * @param {string} key
 */
function isMarkAxis(root, key) {
  return Boolean(/** @type {any} */ (root).layout[key].overlaying);
}

/**
 * The custom data of the point under the pointer: the hover names all points of one x, near and far.
 * @param {HTMLElement} root
 * @param {{event: MouseEvent, points: any[]}} click
 */
function findPicked(root, { event, points }) {
  const frame = root.getBoundingClientRect();
  const near = points.filter(({ customdata }) => customdata).map((point) => {
    const x = point.xaxis._offset + point.xaxis.d2p(point.x) - (event.clientX - frame.left);
    const y = point.yaxis._offset + point.yaxis.d2p(point.y) - (event.clientY - frame.top);
    return { point, distance: Math.hypot(x, y) };
  });
  near.sort((a, b) => a.distance - b.distance);
  return near[0] && near[0].distance <= PICK_DISTANCE ? near[0].point.customdata : undefined;
}

/**
 * What a relayout says of the x range; undefined if it is about something else.
 * @param {Record<string, any>} change
 * @returns {Zoom|undefined}
 */
function readZoom(change) {
  for (const [key, value] of Object.entries(change)) {
    if (/^xaxis\d*\.autorange$/.test(key) && value) return null;
    const axis = /^(xaxis\d*)\.range\[0\]$/.exec(key)?.[1];
    if (axis) return [Number(value), Number(change[`${axis}.range[1]`])];
    if (/^xaxis\d*\.range$/.test(key)) return [Number(value[0]), Number(value[1])];
  }
  return undefined;
}

/**
 * Wait for the script that index.html asks for, which is large and loads beside the page's own.
 * @returns {Promise<any>}
 */
function loadPlotly() {
  return new Promise((resolve, reject) => {
    const ready = () => /** @type {any} */ (window).Plotly;
    if (ready()) return resolve(ready());
    const script = document.getElementById("plotly");
    script?.addEventListener("load", () => resolve(ready()), { once: true });
    script?.addEventListener("error", () => reject(new Error("plotly.js did not load")), { once: true });
  });
}
