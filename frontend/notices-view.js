// Which notices the state calls for: the connection, what runs lost, what can't be compared.

import { formatAge, formatCounted, unitOf } from "./format.js";
import { createNotices } from "./notice.js";
import { AXIS_LABELS, labelView, selectedRuns } from "./views.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Warning} Warning */
/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("./notice.js").Notice} Notice */

const LOST_GRACE_MS = 1500; // a reconnect quicker than this is nobody's business
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
 * The warnings that concern the view on show; both charts' answers carry them.
 * @param {State} state
 * @returns {Warning[]}
 */
function currentWarnings(state) {
  const answers = [state.epochCurves, state.batchCurves];
  const all = answers.flatMap((answer) => answer?.warnings ?? []);
  const views = [state.view, state.mode];
  const current = all.filter((warning) => warning.views.length === 0 || warning.views.some((view) => views.includes(/** @type {any} */ (view))));
  return [...new Map(current.map((warning) => [warning.code + warning.message, warning])).values()];
}

/**
 * @param {Store} store
 * @param {Warning} warning
 * @returns {Notice}
 */
function tellWarning(store, { message, suggest }) {
  const unit = unitOf(selectedRuns(store.get()).map((run) => run.weight_unit));
  /** @type {Notice["action"]} */
  let action;
  if (suggest?.view) {
    const { view } = suggest;
    action = { label: `Show ${labelView(view, unit).toLowerCase()}`, run: () => store.set({ view }) };
  } else if (suggest?.x) {
    const { x } = suggest;
    action = { label: `Show by ${AXIS_LABELS[x].toLowerCase()}`, run: () => store.set({ x, batchZoom: null }) };
  }
  return { level: "warn", text: message, action };
}

/**
 * @param {State} state
 * @param {string} run
 * @param {string} name
 * @returns {Notice|null}
 */
function tellLoss(state, run, name) {
  /** @type {Map<string, number>} */
  const reasons = new Map();
  for (const writer of state.details[run]?.writers ?? []) {
    for (const [reason, count] of Object.entries(writer.dropped)) reasons.set(reason, (reasons.get(reason) ?? 0) + count);
  }
  const gaps = state.details[run]?.counts.gaps ?? 0;
  if (gaps > 0) reasons.set("never arrived", gaps);
  const total = [...reasons.values()].reduce((sum, count) => sum + count, 0);
  if (total === 0) return null;
  const parts = [...reasons].map(([reason, count]) => `${reason} ${count}`).join(", ");
  return { level: "warn", text: `${name} lacks ${formatCounted(total, "record")} (${parts}).` };
}
