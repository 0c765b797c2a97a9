// The table under the charts: every view of each selected run's last complete epoch, each number a question.

import { cssColour } from "./colours.js";
import { listen, make, setAttribute, setText } from "./dom.js";
import { formatCount } from "./format.js";
import { watch } from "./store.js";
import { listColumns, nameCell, readCell } from "./values-columns.js";
import { EVALUATED, epochsKey, lossInForce, lossName, offeredViews, selectedRuns, shownEpoch, splitOf } from "./views.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("./colours.js").Colours} Colours */
/** @typedef {import("./values-columns.js").Line} Line */
/** @typedef {import("./values-columns.js").Column} Column */

const WIDE = 8; // columns; with more of them the headings take two lines

/**
 * @typedef {object} Row
 * @prop {HTMLElement} root
 * @prop {(line: Line, columns: Column[], state: State) => void} draw
 */

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
  root.append(make("div", { class: "scroller", role: "region", "aria-label": "Values of the last complete epoch" }, table));
  /** @type {Map<string, Row>} */
  const rows = new Map();
  let fields = "";

  /** @param {State} state */
  function draw(state) {
    const lines = collectLines(state);
    root.hidden = lines.length === 0;
    const columns = listColumns(state, lines);
    const now = columns.map(({ field }) => field).join();
    if (now !== fields) for (const key of rows.keys()) dropRow(key);
    fields = now;
    drawHead(head, columns, state.view);
    table.classList.toggle("is-wide", columns.length > WIDE);
    const kept = new Set(lines.map(keyLine));
    for (const key of rows.keys()) if (!kept.has(key)) dropRow(key);
    lines.forEach((line, i) => {
      const row = rows.get(keyLine(line)) ?? addRow(line, columns);
      row.draw(line, columns, state);
      if (body.children[i] !== row.root) body.insertBefore(row.root, body.children[i] ?? null);
    });
    keepOneTabStop(body, document.activeElement);
  }

  /** @param {string} key */
  function dropRow(key) {
    rows.get(key)?.root.remove();
    rows.delete(key);
  }

  /**
   * @param {Line} line
   * @param {Column[]} columns
   */
  function addRow(line, columns) {
    const row = createRow(line, columns, colours);
    rows.set(keyLine(line), row);
    return row;
  }

  const pick = (/** @type {State} */ state) => [state.epochs, state.selected, state.known, state.view, state.why, lossInForce(state), offeredViews(state).length];
  const ends = [
    watch(store, pick, draw),
    listen(body, "click", (event) => ask(store, event.target)),
    listen(body, "keydown", (event) => moveFocus(event, body)),
    listen(body, "focusin", (event) => keepOneTabStop(body, event.target)),
  ];
  return () => ends.forEach((end) => end());
}

/**
 * @param {State} state
 * @returns {Line[]} training first, then its other splits, for each run; evaluations have a table of their own
 */
function collectLines(state) {
  const loss = lossInForce(state);
  return selectedRuns(state).flatMap((run) => {
    const own = run.series.filter((series) => lossName(series) === loss && splitOf(series) !== EVALUATED);
    own.sort((a, b) => Number(splitOf(b) === "train") - Number(splitOf(a) === "train"));
    return own.flatMap((series) => {
      const answer = state.epochs[epochsKey(run.run, series)];
      const epoch = shownEpoch(answer);
      return answer && epoch ? [{ run, series, answer, epoch }] : [];
    });
  });
}

/** @param {Line} line */
function keyLine({ run, series }) {
  return epochsKey(run.run, series);
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
    setAttribute(cell, "class", column.field === view ? "is-current" : column.field === "meaning" ? "is-text" : null);
  });
}

/**
 * Make a row that is drawn again in place, so that the focus and a selection in it stay.
 * @param {Line} line
 * @param {Column[]} columns
 * @param {Colours} colours
 * @returns {Row}
 */
function createRow({ run, series }, columns, colours) {
  const swatch = make("span", { class: splitOf(series) === "train" ? "swatch" : "swatch is-val" });
  swatch.style.setProperty("--hue", cssColour(colours.look(run.run)));
  const name = make("span", { class: "of-name" });
  const which = make("td", { "data-field": "epoch", "data-label": "Epoch" });
  const cells = columns.map(({ field }) => {
    const button = make("button", { type: "button", class: "ask", tabindex: "-1", "aria-controls": "why" });
    return { field, button, cell: make("td", { "data-field": field }, button) };
  });
  const of = make("th", { scope: "row", class: "of" }, make("div", { class: "of-line" }, swatch, name, make("span", { class: "split" }, splitOf(series))));
  const root = make("tr", { "data-run": run.run, "data-series": series }, of, which, ...cells.map(({ cell }) => cell));
  return {
    root,
    draw(line, now, state) {
      const { epoch } = line;
      setText(name, line.run.name);
      setAttribute(name, "title", line.run.name);
      const number = formatCount(epoch.epoch ?? 0);
      setText(which, epoch.epoch === null ? "not told" : epoch.complete ? number : `${number}, so far`);
      cells.forEach(({ field, button, cell }, i) => {
        const column = now[i];
        if (!column) return;
        const { value, text, title, mark } = readCell(line, field);
        setText(button, text);
        setAttribute(button, "title", title || null);
        setAttribute(button, "aria-label", nameCell(line, column, text));
        setAttribute(button, "aria-expanded", String(isAsked(state, line, field)));
        setAttribute(button, "data-mark", mark);
        setAttribute(cell, "class", field === state.view ? "is-current" : field === "meaning" ? "is-text" : null);
        setAttribute(cell, "data-value", value === null ? "" : String(value));
        setAttribute(cell, "data-label", column.label);
      });
    },
  };
}

/**
 * @param {State} state
 * @param {Line} line
 * @param {string} field
 */
function isAsked({ why, view }, { run, series, epoch }, field) {
  if (why?.run !== run.run || why.series !== series || (why.field ?? view) !== field) return false;
  return why.epoch === null || why.epoch === epoch.epoch;
}

/**
 * Ask why, or stop asking where this very number is the one asked about.
 * @param {Store} store
 * @param {EventTarget|null} target
 */
function ask(store, target) {
  const button = target instanceof Element ? target.closest("button.ask") : null;
  const row = button?.closest("tr");
  const field = button?.closest("td")?.dataset["field"] ?? null;
  const { run, series } = row?.dataset ?? {};
  if (!button || !run || !series) return;
  if (button.getAttribute("aria-expanded") === "true") return store.set({ why: null });
  store.set({ why: { run, series, epoch: null, field: field === store.get().view ? null : field } });
}

/**
 * @param {KeyboardEvent} event
 * @param {HTMLElement} body
 */
function moveFocus(event, body) {
  const grid = [...body.children].map((row) => [...row.querySelectorAll("button")]);
  const y = grid.findIndex((row) => row.some((button) => button === document.activeElement));
  const row = grid[y];
  if (!row) return;
  const x = row.findIndex((button) => button === document.activeElement);
  const to = {
    ArrowLeft: row[x - 1], ArrowRight: row[x + 1], ArrowUp: grid[y - 1]?.[x], ArrowDown: grid[y + 1]?.[x], Home: row[0], End: row.at(-1),
  }[event.key];
  if (!to) return;
  event.preventDefault();
  to.focus();
}

/**
 * One number of the table is a stop of the tab key; the arrows go on from there.
 * @param {HTMLElement} body
 * @param {EventTarget|null} focused
 */
function keepOneTabStop(body, focused) {
  const buttons = [...body.querySelectorAll("button")];
  const stop = buttons.find((button) => button === focused) ?? buttons.find((button) => button.tabIndex === 0) ?? body.querySelector("td.is-current button") ?? buttons[0];
  for (const button of buttons) button.tabIndex = button === stop ? 0 : -1;
}
