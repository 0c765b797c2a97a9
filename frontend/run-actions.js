// What a person does with a run: rename it, write of it, archive, restore and delete it.

import { getJson, sendJson } from "./api.js";
import { listDetail } from "./feed.js";

/** @typedef {import("./types.js").RunDetail} RunDetail */
/** @typedef {import("./store.js").Store} Store */

/** @typedef {{name?: string, notes?: string, tags?: string[], colour?: string|null, archived?: boolean}} Edit */

/**
 * Get a run as it is now, with its notes and its size.
 * @param {string} run
 * @returns {Promise<RunDetail>}
 * @throws {import("./api.js").ApiError}
 */
export function askRun(run) {
  return getJson(`/runs/${run}`);
}

/**
 * Change a run; an archived or restored one leaves the list that is shown, and an archived one the charts.
 * @param {Store} store
 * @param {string} run
 * @param {Edit} edit
 * @throws {import("./api.js").ApiError}
 */
export async function editRun(store, run, edit) {
  /** @type {RunDetail} */
  const detail = await sendJson("PATCH", `/runs/${run}`, edit);
  const { details, known } = store.get();
  store.set({ details: { ...details, [run]: detail }, known: { ...known, [run]: listDetail(detail) } });
  if (edit.archived === undefined) return;
  unlist(store, run, edit.archived ? 1 : -1);
  if (edit.archived) unselect(store, run);
}

/**
 * Delete an archived run for good.
 * @param {Store} store
 * @param {string} run
 * @throws {import("./api.js").ApiError}
 */
export async function deleteRun(store, run) {
  await sendJson("DELETE", `/runs/${run}`);
  unlist(store, run, -1);
  unselect(store, run);
}

/**
 * Take a run off the list at once; the list itself is asked for anew when the service tells of the change.
 * Where that was quicker than the answer to our own change, the numbers are right already.
 * @param {Store} store
 * @param {string} run
 * @param {1|-1} archived  by how many the archive has more now
 */
function unlist(store, run, archived) {
  const { runs, found, total, archivedTotal } = store.get();
  const isListed = runs?.some((other) => other.run === run) ?? false;
  store.set({
    runs: runs && runs.filter((other) => other.run !== run),
    found: found.filter((other) => other.run !== run),
    total: isListed ? total - 1 : total,
    archivedTotal: isListed ? Math.max(0, archivedTotal + archived) : archivedTotal,
  });
}

/**
 * @param {Store} store
 * @param {string} run
 */
function unselect(store, run) {
  const { selected, why } = store.get();
  if (!selected.includes(run)) return;
  store.set({ selected: selected.filter((other) => other !== run), why: why?.run === run ? null : why });
}
