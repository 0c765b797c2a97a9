// The list of runs: which are on the charts, how each is doing and since when; search and keyboard.

import { listen, make, setAttribute, setText } from "./dom.js";
import { formatCount } from "./format.js";
import { createMenu } from "./run-menu.js";
import { createRow } from "./run-row.js";
import { watch } from "./store.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Run} Run */
/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("./colours.js").Colours} Colours */
/** @typedef {import("./run-row.js").Row} Row */

const TICK_MS = 1000;
const MAX_SELECTED = 50; // what one question to /curves may name

/**
 * Show the list.
 * @param {HTMLElement} root
 * @param {Store} store
 * @param {Colours} colours
 * @returns {() => void}
 */
export function showRuns(root, store, colours) {
  /** @type {Map<string, Row>} */
  const rows = new Map();
  const search = make("input", { type: "search", id: "search", placeholder: "Search runs", "aria-label": "Search runs", autocomplete: "off", spellcheck: "false" });
  const count = make("span", { class: "count" });
  const toggle = make("button", { type: "button", class: "button runs-toggle", id: "runs-toggle", "aria-controls": "run-list", "aria-expanded": "false" });
  const list = make("ul", { id: "run-list", "aria-label": "Runs; space shows or hides one, enter shows only one" });
  const archive = make("button", { type: "button", class: "button", id: "archived" });
  const foot = make("div", { class: "archive" }, archive);
  root.append(make("div", { class: "runs-head" }, toggle, search, count), list, foot);
  const menu = createMenu(root, store);

  function draw() {
    const state = store.get();
    const runs = listed(state);
    colours.learn([...runs].reverse().map((run) => run.run));
    for (const [id, row] of rows) if (!runs.some((run) => run.run === id)) rows.delete(id), row.root.remove();
    runs.forEach((run, i) => {
      const row = rows.get(run.run) ?? addRow(run);
      row.draw(run, colours.look(run.run), state.selected.includes(run.run), state.details[run.run], state.connection);
      if (list.children[i] !== row.root) list.insertBefore(row.root, list.children[i] ?? null);
    });
    foot.hidden = state.archivedTotal === 0 && !state.archived;
    setText(archive, state.archived ? "Back to the runs" : `Archived ${formatCount(state.archivedTotal)}`);
    setAttribute(search, "placeholder", state.archived ? "Search archived runs" : "Search runs");
    setAttribute(archive, "aria-pressed", String(state.archived));
    const held = Math.max(state.total, runs.length);
    setText(count, state.runs === null ? "" : state.search || runs.length < held ? `${formatCount(runs.length)} of ${formatCount(held)}` : formatCount(held));
    const names = state.selected.map((run) => state.known[run]?.name ?? run);
    setText(toggle, names.length === 1 ? `${names[0]}` : `${names.length} of ${held} runs`);
    keepOneTabStop(rows, document.activeElement);
  }

  /** @param {Run} run */
  function addRow(run) {
    const row = createRow(run.run, {
      onToggle: () => toggleRun(store, run.run),
      onOnly: () => store.set({ selected: [run.run], batchZoom: null }),
      onMore: (button) => menu.open(store.get().known[run.run] ?? run, button),
    });
    rows.set(run.run, row);
    return row;
  }

  function tick() {
    const state = store.get();
    for (const run of listed(state)) rows.get(run.run)?.tick(run, state.connection);
  }

  const timer = window.setInterval(tick, TICK_MS);
  const ends = [
    watch(store, (state) => [state.runs, state.found, state.known, state.details, state.selected, state.search, state.total, state.archived, state.archivedTotal, state.connection], draw),
    listen(search, "input", () => store.set({ search: search.value.trim() })),
    listen(list, "keydown", (event) => moveFocus(event, list)),
    listen(search, "keydown", (event) => event.key === "ArrowDown" && focusRow(list, 0, event)),
    listen(list, "focusin", (event) => keepOneTabStop(rows, event.target)),
    listen(archive, "click", () => store.set({ archived: !store.get().archived, runs: null, found: [] })),
    listen(toggle, "click", () => {
      const isOpen = root.classList.toggle("is-open");
      setAttribute(toggle, "aria-expanded", String(isOpen));
    }),
  ];
  return () => {
    window.clearInterval(timer);
    for (const end of ends) end();
    menu.dispose();
    root.replaceChildren();
  };
}

/**
 * The runs to list: those found where the service searched, else those listed that fit the words.
 * @param {State} state
 * @returns {Run[]}
 */
function listed(state) {
  const newest = (/** @type {Run[]} */ runs) => runs.map((run) => state.known[run.run] ?? run);
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (/** @type {Run} */ run) => {
    const text = `${run.name} ${run.run} ${run.project} ${run.state} ${run.tags.join(" ")}`.toLowerCase();
    return words.every((word) => text.includes(word));
  };
  const own = newest(state.runs ?? []).filter(fits);
  const more = words.length > 0 ? newest(state.found).filter((run) => !own.some((other) => other.run === run.run)) : [];
  const chosen = words.length > 0 ? [] : state.selected.flatMap((run) => state.known[run] ?? []).filter((run) => !own.some((other) => other.run === run.run) && (!state.archived || run.archived_unix_s));
  return [...own, ...more, ...chosen];
}

/**
 * @param {Store} store
 * @param {string} run
 */
function toggleRun(store, run) {
  const { selected } = store.get();
  const without = selected.filter((other) => other !== run);
  if (without.length < selected.length) store.set({ selected: without });
  else store.set({ selected: [...selected, run].slice(-MAX_SELECTED) });
}

/**
 * @param {KeyboardEvent} event
 * @param {HTMLElement} list
 */
function moveFocus(event, list) {
  const boxes = [...list.querySelectorAll("input")];
  const at = boxes.findIndex((box) => box.closest("li")?.contains(document.activeElement));
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: boxes.length - 1 }[event.key];
  if (to !== undefined) focusRow(list, to, event);
}

/**
 * @param {HTMLElement} list
 * @param {number} i
 * @param {KeyboardEvent} event
 */
function focusRow(list, i, event) {
  const box = list.querySelectorAll("input")[i];
  if (!box) return;
  event.preventDefault();
  box.focus();
}

/**
 * One row of the list is a stop of the tab key, its box and its menu; the arrows go on from there.
 * @param {Map<string, Row>} rows
 * @param {EventTarget|null} focused
 */
function keepOneTabStop(rows, focused) {
  const all = [...rows.values()];
  const stop = all.find(({ box, more }) => box === focused || more === focused) ?? all.find(({ box }) => box.tabIndex === 0) ?? all[0];
  for (const row of all) row.box.tabIndex = row.more.tabIndex = row === stop ? 0 : -1;
}
