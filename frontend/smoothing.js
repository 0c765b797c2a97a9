// Smoothing of the batch chart: half-lives in items that fit the runs, so that batch size makes no difference.

import { listen, make } from "./dom.js";
import { formatCounted } from "./format.js";
import { watch } from "./store.js";
import { splitOf } from "./views.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./store.js").Store} Store */

const MOST = 5; // choices beside "off"
const LEAST_BATCHES = 2; // a shorter half-life than two batches smooths nothing
const LEAST_LIVES = 4; // of a longer one the chart holds too few to show a course

/**
 * @param {number} items
 * @returns {string}
 */
export function tellHalfLife(items) {
  return `half-life ${formatCounted(items, "item")}`;
}

/**
 * Round half-lives (1, 2, 5, 10, …) between two batches and a quarter of what the longest run has seen.
 * @param {State} state
 * @returns {number[]}
 */
export function fittingHalfLives({ epochCurves, selected }) {
  const curves = (epochCurves?.curves ?? []).filter((curve) => selected.includes(curve.run) && splitOf(curve.series) === "train");
  const least = LEAST_BATCHES * Math.max(1, ...curves.map((curve) => curve.batch_size ?? 1));
  const most = Math.max(0, ...curves.map((curve) => curve.items?.at(-1) ?? 0)) / LEAST_LIVES;
  const all = [];
  for (let ten = 1; ten <= most; ten *= 10) all.push(...[1, 2, 5].map((digit) => digit * ten));
  const fitting = all.filter((items) => items >= least && items <= most);
  const step = Math.ceil(fitting.length / MOST);
  return fitting.filter((_, i) => i % step === 0);
}

/**
 * The choice in the batch chart's heading; unseen where nothing is smoothed.
 * @param {Store} store
 * @returns {{root: HTMLElement, dispose: () => void}}
 */
export function createSmoothing(store) {
  const select = make("select", { id: "smooth", "aria-label": "Smoothing" });
  const root = make("span", { class: "choice" }, select);
  const unlisten = listen(select, "change", () => store.set({ smooth: select.value === "" ? null : Number(select.value) }));
  const pick = (/** @type {State} */ state) => [state.mode, state.smooth, fittingHalfLives(state).join(" ")];
  const unwatch = watch(store, pick, (state) => {
    const lives = new Set(fittingHalfLives(state));
    if (state.smooth !== null) lives.add(state.smooth);
    root.hidden = state.mode !== "batch" || lives.size === 0;
    const options = [...lives].sort((a, b) => a - b).map((items) => make("option", { value: items }, `Smooth, ${tellHalfLife(items)}`));
    select.replaceChildren(make("option", { value: "" }, "Not smoothed"), ...options);
    select.value = state.smooth === null ? "" : String(state.smooth);
  });
  return {
    root,
    dispose() {
      unlisten();
      unwatch();
    },
  };
}
