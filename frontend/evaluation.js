// The comparison of runs that were evaluated by `lossboard.evaluate`: exact values, and whether they may be compared.

import { cssColour } from "./colours.js";
import { listen, make, setText } from "./dom.js";
import { formatAmount, formatCount, formatExact, formatLoss } from "./format.js";
import { explainMeaning, isDoubtful, labelMeaning, meaningOf } from "./meaning.js";
import { watch } from "./store.js";
import { EVALUATED, epochsKey, lossName, selectedRuns, splitOf } from "./views.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Run} Run */
/** @typedef {import("./types.js").EpochRow} EpochRow */
/** @typedef {import("./types.js").EpochsAnswer} EpochsAnswer */
/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("./colours.js").Colours} Colours */
/** @typedef {{run: Run, answer: EpochsAnswer, row: EpochRow}} Result  a run's newest evaluation */

const SAME_WEIGHT = 1e-9; // relative: sums of weights differ in their last bits by the order of batches

/**
 * Show one table for each evaluated loss of the selected runs.
 * @param {HTMLElement} root
 * @param {Store} store
 * @param {Colours} colours
 * @returns {() => void}
 */
export function showEvaluation(root, store, colours) {
  const unlisten = listen(root, "click", (event) => ask(store, event.target));
  const unwatch = watch(store, (state) => [state.epochs, state.selected, state.known], (state) => {
    const tables = collectResults(state);
    const is = JSON.stringify([...tables].map(([name, results]) => [name, results.map(({ run, row }) => [run.run, run.name, row])]));
    if (root.dataset["is"] === is) return;
    root.dataset["is"] = is;
    root.hidden = tables.size === 0;
    const drawn = [...tables].map(([name, results]) => drawTable(name, tables.size > 1, results, colours));
    const heading = make("h2", { id: "evaluation-title" }, "Evaluated");
    const say = make("p", { class: "say" }, "The newest result of lossboard.evaluate: one pass without updates, exact at any batch size.");
    root.replaceChildren(make("header", { class: "panel-head" }, heading, say), ...drawn);
  });
  return () => {
    unlisten();
    unwatch();
  };
}

/**
 * Ask why about the value that was clicked.
 * @param {Store} store
 * @param {EventTarget|null} target
 */
function ask(store, target) {
  const button = target instanceof Element ? target.closest("button.ask") : null;
  const { run, series, epoch } = button?.closest("tr")?.dataset ?? {};
  if (run && series) store.set({ why: { run, series, epoch: epoch ? Number(epoch) : null, field: "per_item" } });
}

/**
 * @param {State} state
 * @returns {Map<string, Result[]>} by the name of the loss
 */
function collectResults(state) {
  /** @type {Map<string, Result[]>} */
  const found = new Map();
  for (const run of selectedRuns(state)) {
    for (const series of run.series.filter((name) => splitOf(name) === EVALUATED)) {
      const answer = state.epochs[epochsKey(run.run, series)];
      const row = answer?.epochs.at(-1);
      if (answer && row) found.set(lossName(series), [...(found.get(lossName(series)) ?? []), { run, answer, row }]);
    }
  }
  return found;
}

/**
 * @param {string} loss
 * @param {boolean} isNamed  one of several
 * @param {Result[]} results
 * @param {Colours} colours
 */
function drawTable(loss, isNamed, results, colours) {
  const reason = whyApart(results);
  const values = results.map(({ row }) => row.per_item).filter((value) => typeof value === "number");
  const best = reason === "" && values.length > 1 ? Math.min(...values) : null;
  const labels = [isNamed ? loss : "Run", "Epoch", "Meaning", "Value", ...(best === null ? [] : ["To the best"]), "Items"];
  const head = labels.map((label, i) => make("th", { scope: "col", class: i === 0 ? "of" : label === "Meaning" ? "is-text" : null }, label));
  const rows = results.map((result) => drawResult(result, best, colours));
  const table = make("table", {}, make("caption", { class: "unseen" }, `Evaluation of ${loss}`), make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...rows));
  return make("div", { class: "scroller" }, ...(reason ? [make("p", { class: "apart" }, reason)] : []), table);
}

/**
 * @param {Result} result
 * @param {number|null} best
 * @param {Colours} colours
 */
function drawResult({ run, answer, row }, best, colours) {
  const swatch = make("span", { class: "swatch" });
  swatch.style.setProperty("--hue", cssColour(colours.look(run.run)));
  const name = make("span", { class: "of-name", title: run.name });
  setText(name, run.name);
  const cell = (/** @type {string} */ field, /** @type {string} */ label, /** @type {string|Node} */ text, /** @type {Record<string, string|null>} */ more = {}) =>
    make("td", { "data-field": field, "data-label": label, ...more }, text);
  const value = row.per_item;
  const meaning = meaningOf(answer, row);
  const askable = make("button", { type: "button", class: "ask", "aria-controls": "why", "aria-label": `${formatLoss(value)}: evaluation of ${run.name}. Why?` }, formatLoss(value));
  return make(
    "tr", { "data-run": run.run, "data-series": answer.series, "data-epoch": row.epoch },
    make("th", { scope: "row", class: "of" }, make("div", { class: "of-line" }, swatch, name)),
    cell("epoch", "Epoch", row.epoch === null ? "–" : formatCount(row.epoch)),
    cell("meaning", "Meaning", labelMeaning(meaning), { class: "is-text", title: explainMeaning(meaning), "data-mark": isDoubtful(meaning) ? "doubt" : null }),
    cell("per_item", "Value", askable, { class: "is-current", title: formatExact(value), "data-value": String(value ?? "") }),
    ...(best === null ? [] : [cell("difference", "To the best", tellDifference(value, best))]),
    cell("items", "Items", formatCount(row.items_seen)),
  );
}

/**
 * @param {import("./types.js").WireNumber} value
 * @param {number} best
 */
function tellDifference(value, best) {
  if (typeof value !== "number") return "–";
  if (value === best) return "best";
  const share = best > 0 ? ` (+${(((value - best) / best) * 100).toPrecision(2)} %)` : "";
  return `+${formatLoss(value - best)}${share}`;
}

/**
 * Why these results can't be compared; empty where they can.
 * @param {Result[]} results
 * @returns {string}
 */
function whyApart(results) {
  const [first, ...others] = results;
  if (!first || others.length === 0) return "";
  const units = new Set(results.map(({ answer }) => answer.weight_unit));
  if (units.size > 1) return `Not compared: these are means over different things (${tellEach(results, ({ answer }) => labelMeaning(answer))}).`;
  if (others.some(({ row }) => row.items_seen !== first.row.items_seen)) {
    return `Not compared: the data differ (${tellEach(results, ({ row }) => `${formatCount(row.items_seen)} items`)}). Evaluate both on the same loader.`;
  }
  const weight = first.row.weight ?? 0;
  if (others.some(({ row }) => Math.abs((row.weight ?? 0) - weight) > SAME_WEIGHT * Math.abs(weight))) {
    return `Not compared: as many items, but they weigh differently (${tellEach(results, ({ row }) => formatAmount(row.weight ?? 0))}), so the targets are others.`;
  }
  return "";
}

/**
 * @param {Result[]} results
 * @param {(result: Result) => string} tell
 */
function tellEach(results, tell) {
  return results.map((result) => `${result.run.name} ${tell(result)}`).join("; ");
}
