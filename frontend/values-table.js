// The table under the charts: every view of each selected run's last complete epoch, as exact numbers.

import { make, setAttribute, setText } from "./dom.js";
import { formatCount, formatExact, formatLoss, unitOf } from "./format.js";
import { watch } from "./store.js";
import { VIEWS, epochsKey, labelView, lossInForce, lossName, selectedRuns, splitOf } from "./views.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Run} Run */
/** @typedef {import("./types.js").EpochRow} EpochRow */
/** @typedef {import("./types.js").EpochsAnswer} EpochsAnswer */
/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("./colours.js").Colours} Colours */
/** @typedef {{run: Run, series: string, answer: EpochsAnswer, epoch: EpochRow}} Line */
/** @typedef {{field: string, label: string, read: (line: Line) => import("./types.js").WireNumber, format: (value: any) => string}} Column */

/**
 * Show the table.
 * @param {HTMLElement} root
 * @param {Store} store
 * @param {Colours} colours
 * @returns {() => void}
 */
export function showValues(root, store, colours) {
  const head = make("tr");
  const body = make("tbody");
  const table = make("table", { id: "values-table" }, make("caption", { class: "unseen" }, "Values of the last complete epoch"), make("thead", {}, head), body);
  root.append(make("div", { class: "scroller", tabindex: "0", role: "region", "aria-label": "Values of the last complete epoch" }, table));
  return watch(store, (state) => [state.epochs, state.selected, state.known, state.view, lossInForce(state)], (state) => {
    const lines = collectLines(state);
    root.hidden = lines.length === 0;
    const columns = listColumns(unitOf(lines.map((line) => line.answer.weight_unit)));
    drawHead(head, columns, state.view);
    body.replaceChildren(...lines.map((line) => drawLine(line, columns, state, colours)));
  });
}

/**
 * @param {State} state
 * @returns {Line[]} training first, then its other splits, for each run
 */
function collectLines(state) {
  const loss = lossInForce(state);
  return selectedRuns(state).flatMap((run) => {
    const own = run.series.filter((series) => lossName(series) === loss);
    own.sort((a, b) => Number(splitOf(b) === "train") - Number(splitOf(a) === "train"));
    return own.flatMap((series) => {
      const answer = state.epochs[epochsKey(run.run, series)];
      const epoch = answer?.epochs.findLast((row) => row.complete) ?? answer?.epochs.at(-1);
      return answer && epoch ? [{ run, series, answer, epoch }] : [];
    });
  });
}

/**
 * @param {string} unit
 * @returns {Column[]}
 */
function listColumns(unit) {
  const count = (/** @type {number|null} */ value) => (value === null ? "–" : formatCount(value));
  return [
    ...VIEWS.map((view) => ({ field: view, label: labelView(view, unit), read: (/** @type {Line} */ line) => line.epoch[view], format: formatLoss })),
    { field: "batch_size", label: "Batch size", read: ({ epoch }) => epoch.batch_size, format: count },
    { field: "last_batch_size", label: "Last batch", read: ({ epoch }) => epoch.last_batch_size, format: count },
    { field: "batches", label: "Batches", read: ({ epoch }) => epoch.batches_seen, format: count },
    { field: "items", label: "Items", read: ({ epoch }) => epoch.items_seen, format: count },
    { field: "nonfinite", label: "Not finite", read: ({ epoch }) => epoch.nonfinite, format: count },
  ];
}

/**
 * @param {HTMLElement} head
 * @param {Column[]} columns
 * @param {string} view
 */
function drawHead(head, columns, view) {
  if (head.children.length !== columns.length + 2) {
    head.replaceChildren(make("th", { scope: "col", class: "of" }, "Last complete epoch"), make("th", { scope: "col" }, "Epoch"), ...columns.map(() => make("th", { scope: "col" })));
  }
  columns.forEach((column, i) => {
    const cell = head.children[i + 2];
    if (!cell) return;
    setText(cell, column.label);
    setAttribute(cell, "class", column.field === view ? "is-current" : null);
  });
}

/**
 * @param {Line} line
 * @param {Column[]} columns
 * @param {State} state
 * @param {Colours} colours
 */
function drawLine(line, columns, state, colours) {
  const { run, series, epoch } = line;
  const swatch = make("span", { class: splitOf(series) === "train" ? "swatch" : "swatch is-val" });
  swatch.style.setProperty("--hue", `var(--run-${colours.look(run.run).hue})`);
  const split = make("span", { class: "split" }, splitOf(series));
  const name = make("th", { scope: "row", class: "of" }, make("div", { class: "of-line" }, swatch, make("span", { class: "of-name" }, run.name), split));
  const number = formatCount(epoch.epoch ?? 0);
  const which = make("td", { "data-field": "epoch", "data-label": "Epoch" }, epoch.epoch === null ? "not told" : epoch.complete ? number : `${number}, so far`);
  const cells = columns.map((column) => {
    const value = column.read(line);
    const attributes = {
      "data-field": column.field, "data-value": value === null ? "" : String(value), "data-label": column.label,
      class: column.field === state.view ? "is-current" : column.field === "nonfinite" && value !== 0 ? "is-bad" : null,
      title: typeof value === "number" && !Number.isInteger(value) ? formatExact(value) : null,
    };
    return make("td", attributes, column.format(value));
  });
  return make("tr", { "data-run": run.run, "data-series": series }, name, which, ...cells);
}
