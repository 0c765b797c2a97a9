// The address bar as the place where a view of the charts is kept and shared.

import { AXES, VIEWS } from "./views.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Why} Why */
/** @typedef {Pick<State, "selected"|"view"|"x"|"layout"|"mode"|"loss"|"smooth"|"hidden"|"why">} Shared */

const MAX_RUNS = 50; // what one question to /curves may name
const RUN_ID = /^[A-Za-z0-9_-]{1,64}$/;
const WHY = /^([A-Za-z0-9_-]{1,64}),(.+),(\d{1,10}|last)(?:,([a-z_]+))?$/; // a series' name may hold commas
/** @type {import("./types.js").Layout[]} */
const LAYOUTS = ["overlay", "side", "difference"];

/**
 * Read what an address asks for; what it doesn't know is left at its default.
 * @param {string} search  `location.search`
 * @returns {Shared}
 */
export function readUrl(search) {
  const query = new URLSearchParams(search);
  const runs = query.getAll("run").filter((run) => RUN_ID.test(run));
  return {
    selected: [...new Set(runs)].slice(0, MAX_RUNS),
    view: oneOf(VIEWS, query.get("view")) ?? "per_item",
    x: oneOf(AXES, query.get("x")),
    layout: oneOf(LAYOUTS, query.get("layout")),
    mode: query.get("mode") === "running" ? "running" : "batch",
    loss: query.get("loss"),
    smooth: readHalfLife(query.get("smooth")),
    hidden: query.get("hidden") === "show",
    why: readWhy(query.get("why")),
  };
}

/**
 * Write the address for a state. Defaults are left out, but for the view, whose meaning one should see.
 * @param {Shared} state
 * @returns {string}  starts with `?`, or is `/` where nothing is selected
 */
export function writeUrl(state) {
  const query = new URLSearchParams();
  for (const run of state.selected) query.append("run", run);
  if (state.selected.length > 0 || state.view !== "per_item") query.set("view", state.view);
  if (state.x) query.set("x", state.x);
  if (state.layout) query.set("layout", state.layout);
  if (state.mode !== "batch") query.set("mode", state.mode);
  if (state.loss !== null) query.set("loss", state.loss);
  if (state.smooth !== null) query.set("smooth", String(state.smooth));
  if (state.hidden) query.set("hidden", "show");
  if (state.why) query.set("why", writeWhy(state.why));
  const text = query.toString().replaceAll("%2C", ",").replaceAll("%2F", "/"); // both may stand in a query, and read better
  return text ? `?${text}` : "/";
}

/**
 * @param {string|null} text
 * @returns {number|null}
 */
function readHalfLife(text) {
  const items = Number(text);
  return Number.isFinite(items) && items > 0 ? items : null;
}

/**
 * @param {string|null} text
 * @returns {Why|null}
 */
function readWhy(text) {
  const [, run, series, epoch, field] = WHY.exec(text ?? "") ?? [];
  if (!run || !series) return null;
  return { run, series, epoch: epoch === "last" ? null : Number(epoch), field: field ?? null };
}

/** @param {Why} why */
function writeWhy({ run, series, epoch, field }) {
  return [run, series, epoch ?? "last", ...(field ? [field] : [])].join(",");
}

/**
 * @template {string} T
 * @param {T[]} choices
 * @param {string|null} value
 * @returns {T|null}
 */
function oneOf(choices, value) {
  return choices.find((choice) => choice === value) ?? null;
}
