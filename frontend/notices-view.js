// Which notices the state calls for: the connection, what runs lost, what can't be compared.

import { formatAge, formatCounted, unitOf } from "./format.js";
import { createNotices } from "./notice.js";
import { LOST_GRACE_MS } from "./run-state.js";
import { AXIS_LABELS, currentWarnings, labelView, layoutInForce, selectedRuns } from "./views.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Warning} Warning */
/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("./notice.js").Notice} Notice */

const TICK_MS = 1000;

/**
 * Show the notices and keep their ages ticking.
 * @param {HTMLElement} root
 * @param {Store} store
 * @returns {() => void}
 */
export function showNotices(root, store) {
  const notice = createNotices(root);
  /** @type {Set<string>} */
  let before = new Set();

  function draw() {
    const wanted = collect(store);
    for (const key of before) if (!wanted.has(key)) notice(key, null);
    for (const [key, what] of wanted) notice(key, what);
    before = new Set(wanted.keys());
  }

  const unsubscribe = store.subscribe(draw);
  const timer = window.setInterval(draw, TICK_MS);
  return () => {
    unsubscribe();
    window.clearInterval(timer);
    for (const key of before) notice(key, null);
  };
}

/**
 * @param {Store} store
 * @returns {Map<string, Notice>}
 */
function collect(store) {
  const state = store.get();
  /** @type {Map<string, Notice>} */
  const wanted = new Map();
  const connection = tellConnection(state);
  if (connection) wanted.set("connection", connection);
  if (state.fault) wanted.set("fault", { level: "error", text: state.fault, action: { label: "Dismiss", run: () => store.set({ fault: null }) } });
  for (const warning of currentWarnings(state)) {
    wanted.set(`${warning.code} ${warning.runs.join(" ")}`, tellWarning(store, warning));
  }
  for (const run of selectedRuns(state)) {
    const loss = tellLoss(state, run.run, run.name);
    if (loss) wanted.set(`lost ${run.run}`, loss);
  }
  return wanted;
}

/**
 * @param {State} state
 * @returns {Notice|null}
 */
function tellConnection({ connection, runs }) {
  const ageMs = Date.now() - connection.sinceMs;
  if (connection.state === "refused") {
    return { level: "error", text: "This browser’s way in is no longer good. Run “lossboard open” in a terminal for a new link." };
  }
  if (connection.state === "live" || ageMs < LOST_GRACE_MS) return null;
  if (runs === null) return { level: "warn", text: "Waiting for the service.", age: formatAge(ageMs / 1000) };
  return { level: "warn", text: "Not connected. What was known is shown; trying again.", age: `${formatAge(ageMs / 1000)} ago` };
}

/**
 * @param {Store} store
 * @param {Warning} warning
 * @returns {Notice}
 */
function tellWarning(store, { message, suggest }) {
  return { level: "warn", text: message, action: suggest ? offer(store, suggest) : undefined };
}

/**
 * The button that does what a warning suggests; none where it is so already.
 * @param {Store} store
 * @param {NonNullable<Warning["suggest"]>} suggest
 * @returns {Notice["action"]}
 */
function offer(store, { view, x, layout }) {
  const state = store.get();
  if (view === "batch" || view === "running") {
    return state.mode === view ? undefined : { label: view === "batch" ? "Show every batch" : "Show the running mean", run: () => store.set({ mode: view }) };
  }
  if (view) {
    const label = labelView(view, unitOf(selectedRuns(state).map((run) => run.weight_unit)));
    return { label: `Show ${label.toLowerCase()}`, run: () => store.set({ view }) };
  }
  if (x && AXIS_LABELS[x]) return { label: `Show by ${AXIS_LABELS[x].toLowerCase()}`, run: () => store.set({ x, batchZoom: null }) };
  if (!layout || state.selected.length < 2) return undefined;
  const isApart = layoutInForce(state) === layout;
  return { label: isApart ? "Overlay them anyway" : "Show side by side", run: () => store.set({ layout: isApart ? "overlay" : null }) };
}

/**
 * @param {State} state
 * @param {string} run
 * @param {string} name
 * @returns {Notice|null}
 */
function tellLoss(state, run, name) {
  const { dropped, gaps } = state.details[run]?.counts ?? { dropped: {}, gaps: 0 };
  const reasons = Object.entries(dropped);
  if (gaps > 0) reasons.push(["never arrived", gaps]);
  const total = reasons.reduce((sum, [, count]) => sum + count, 0);
  if (total === 0) return null;
  const parts = reasons.map(([reason, count]) => `${reason} ${count}`).join(", ");
  return { level: "warn", text: `${name} lacks ${formatCounted(total, "record")} (${parts}).` };
}
