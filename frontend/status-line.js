// The line over the charts that says how the selected runs are doing, and what that means.

import { make, setAttribute, setText } from "./dom.js";
import { drawMark, makeMark, tellState } from "./run-state.js";
import { watch } from "./store.js";
import { selectedRuns } from "./views.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Run} Run */
/** @typedef {import("./types.js").Connection} Connection */
/** @typedef {import("./store.js").Store} Store */

const TICK_MS = 1000;
const MAX_TOLD = 4; // runs; the list has the others
const TROUBLED = ["failed", "killed", "lost", "stalled", "running", "finished"]; // what to tell first

/**
 * Show the line and keep its ages ticking.
 * @param {HTMLElement} root
 * @param {Store} store
 * @returns {() => void}
 */
export function showStatus(root, store) {
  /** @type {Map<string, ReturnType<typeof createItem>>} */
  const items = new Map();
  const rest = make("span", { class: "status-rest" });
  const notes = make("span", { class: "status-notes" });
  root.append(rest, notes);

  function draw() {
    const state = store.get();
    const runs = selectedRuns(state);
    const told = [...runs].sort((a, b) => TROUBLED.indexOf(a.state) - TROUBLED.indexOf(b.state)).slice(0, MAX_TOLD);
    root.hidden = runs.length === 0;
    for (const [id, item] of items) if (!told.some((run) => run.run === id)) items.delete(id), item.root.remove();
    told.forEach((run, i) => {
      const item = items.get(run.run) ?? createItem();
      items.set(run.run, item);
      item.draw(run, state.connection, runs.length > 1);
      if (root.children[i] !== item.root) root.insertBefore(item.root, root.children[i] ?? null);
    });
    const only = runs.length === 1 ? runs[0] : undefined;
    setText(notes, only ? (state.details[only.run]?.notes ?? "") : "");
    setText(rest, runs.length > told.length ? `and ${runs.length - told.length} more` : "");
  }

  const timer = window.setInterval(draw, TICK_MS);
  const unwatch = watch(store, (state) => [state.selected, state.known, state.details, state.connection], draw);
  return () => {
    window.clearInterval(timer);
    unwatch();
    root.replaceChildren();
  };
}

function createItem() {
  const mark = makeMark();
  const name = make("span", { class: "status-name" });
  const word = make("span", { class: "run-state" });
  const sentence = make("span", { class: "status-say" });
  const root = make("span", { class: "status-item" }, name, make("span", { class: "state" }, mark, word), sentence);
  return {
    root,
    /**
     * @param {Run} run
     * @param {Connection} connection
     * @param {boolean} isOneOfMany
     */
    draw(run, connection, isOneOfMany) {
      const told = tellState(run, connection);
      setAttribute(root, "data-state", run.state);
      setAttribute(root, "data-stale", told.isStale);
      drawMark(mark, run.state);
      setText(name, isOneOfMany ? run.name : "");
      setText(word, told.word);
      setText(sentence, isOneOfMany ? told.short : told.sentence);
      setAttribute(root, "title", `${run.name}: ${told.word}. ${told.sentence}`);
    },
  };
}
