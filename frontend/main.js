// Puts the page together: stream → store → views.

import { createColours } from "./colours.js";
import { showBar } from "./controls.js";
import { byId, listen } from "./dom.js";
import { showEvaluation } from "./evaluation.js";
import { startFeed } from "./feed.js";
import { showNotices } from "./notices-view.js";
import { showPanels } from "./panels.js";
import { showRuns } from "./run-list.js";
import { showStatus } from "./status-line.js";
import { createStore, watch } from "./store.js";
import { showTeaching } from "./teach.js";
import { followTheme, readTheme } from "./theme.js";
import { readUrl, writeUrl } from "./url-state.js";
import { showValues } from "./values-table.js";
import { startWhy } from "./why-feed.js";
import { showWhy } from "./why-panel.js";

/** @typedef {import("./types.js").State} State */

/** @type {State} */
const initial = {
  ...readUrl(location.search), ...readTheme(),
  runs: null, total: 0, archived: false, archivedTotal: 0, found: [], known: {}, search: "",
  connection: { state: "connecting", sinceMs: Date.now() }, fault: null,
  epochCurves: null, epochDetail: null, epochZoom: null, batchCurves: null, batchZoom: null, epochs: {}, details: {}, explained: null, whyFault: null,
};
const store = createStore(initial);
const colours = createColours(localStorage, (run) => store.get().known[run]?.colour);

const ends = [
  followTheme(store),
  showBar(byId("bar"), store),
  showRuns(byId("runs"), store, colours),
  showStatus(byId("status"), store),
  showNotices(byId("notices"), store),
  showTeaching(byId("teach"), store),
  showPanels(byId("charts"), store, colours),
  showValues(byId("values"), store, colours),
  showEvaluation(byId("evaluation"), store, colours),
  showWhy(byId("why"), store, colours),
  watch(store, (state) => [writeUrl(state)], (state) => {
    history.replaceState(null, "", writeUrl(state));
  }),
  watch(store, (state) => [state.selected, state.known], (state) => {
    const [only, ...others] = state.selected.map((run) => state.known[run]?.name ?? run);
    document.title = only ? `${others.length > 0 ? `${others.length + 1} runs` : only} · Lossboard` : "Lossboard";
  }),
  watch(store, (state) => [state.connection.state], (state) => {
    document.documentElement.dataset["connection"] = state.connection.state;
  }),
  startFeed(store),
  startWhy(store),
];

const unlisten = listen(window, "pagehide", (/** @type {PageTransitionEvent} */ event) => {
  if (event.persisted) return; // kept by the browser for a way back; timers sleep with it
  unlisten();
  for (const end of ends) end();
});
