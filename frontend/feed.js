// What brings the service's answers into the store: asks on a change of question or of data, never more often than it must.

import { ApiError, getJson } from "./api.js";
import { listen } from "./dom.js";
import { askSince, joinAnswer } from "./following.js";
import { createLimiter } from "./limiter.js";
import { questionBatches, questionEpochDetail, questionEpochs, staleEpochs } from "./questions.js";
import { since } from "./run-state.js";
import { shareStream } from "./shared-stream.js";
import { watch } from "./store.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Run} Run */
/** @typedef {import("./types.js").RunsAnswer} RunsAnswer */
/** @typedef {import("./types.js").RunDetail} RunDetail */
/** @typedef {import("./types.js").StreamEvent} StreamEvent */
/** @typedef {import("./store.js").Store} Store */

const CURVES_INTERVAL_MS = 500; // two kinds of curves: four questions a second at most
const LIST_INTERVAL_MS = 3000; // a list of 100 runs that all train costs the service 15 ms
const EPOCHS_INTERVAL_MS = 1000;
const POLL_INTERVAL_MS = 60_000; // in case an event went astray
const FIRST_CHANGE_MS = 1_000; // a state that changes by silence, which is no event, is asked for then, at the earliest
const LISTED_RUNS = "100";

/**
 * Start asking.
 * @param {Store} store
 * @returns {() => void} stops
 */
export function startFeed(store) {
  let hasOpened = store.get().selected.length > 0;
  /** @type {Map<string, string>} what the rows of each epochs answer depended on */
  const stamps = new Map();
  /** @type {Map<string, string>} the question that each of the curves' answers is to */
  const answered = new Map();

  const list = createLimiter(() => guard(store, askList), LIST_INTERVAL_MS);
  const search = createLimiter(() => guard(store, askSearch), 300);
  const epochCurves = createLimiter(() => guard(store, () => askCurves("epochCurves", questionEpochs)), CURVES_INTERVAL_MS);
  const epochDetail = createLimiter(() => guard(store, () => askCurves("epochDetail", questionEpochDetail)), CURVES_INTERVAL_MS);
  const batchCurves = createLimiter(() => guard(store, () => askCurves("batchCurves", questionBatches)), CURVES_INTERVAL_MS);
  const epochs = createLimiter(() => guard(store, askEpochs), EPOCHS_INTERVAL_MS);
  const details = createLimiter(() => guard(store, askDetails), EPOCHS_INTERVAL_MS);
  const limiters = [list, search, epochCurves, epochDetail, batchCurves, epochs, details];

  async function askList() {
    const { archived } = store.get();
    /** @type {RunsAnswer} */
    const answer = await getJson("/runs", listQuery(archived));
    const runs = answer.runs.map(stampRun);
    const state = store.get();
    if (state.archived !== archived) return; // the other list was asked for meanwhile
    store.set({ runs, total: answer.total, archivedTotal: answer.archived, known: mergeRuns(state.known, runs) });
    if (hasOpened || archived || runs.length === 0) return;
    const first = runs.find((run) => run.state === "running") ?? runs[0];
    hasOpened = true;
    if (first) store.set({ selected: [first.run] });
  }

  async function askSearch() {
    const { search: text, total, runs, archived } = store.get();
    if (!text || total <= (runs?.length ?? 0)) return store.set({ found: [] });
    /** @type {RunsAnswer} */
    const answer = await getJson("/runs", listQuery(archived, text));
    const found = answer.runs.map(stampRun);
    store.set({ found, known: mergeRuns(store.get().known, found) });
  }

  /**
   * @param {"epochCurves"|"epochDetail"|"batchCurves"} place
   * @param {(state: State) => string|null} question
   */
  async function askCurves(place, question) {
    const asked = question(store.get());
    if (asked === null) return store.get()[place] === null ? undefined : store.set({ [place]: null });
    const known = answered.get(place) === asked ? store.get()[place] : null;
    const answer = joinAnswer(known, await getJson("/curves", askSince(asked, known)));
    if (question(store.get()) !== asked) return; // a newer question is on its way
    answered.set(place, asked);
    store.set({ [place]: answer, fault: null });
  }

  async function askEpochs() {
    for (const stale of staleEpochs(store.get(), stamps)) {
      const query = new URLSearchParams({ series: stale.series });
      const answer = await getJson(`/runs/${stale.run}/epochs`, query);
      stamps.set(stale.key, stale.stamp);
      store.set({ epochs: { ...store.get().epochs, [stale.key]: answer } });
    }
  }

  async function askDetails() {
    for (const run of store.get().selected) {
      const detail = await getDetail(store, run);
      if (!detail) continue;
      const { details: before, known } = store.get();
      store.set({ details: { ...before, [run]: detail }, known: mergeRuns(known, [listDetail(detail)]) });
    }
  }

  /** @param {StreamEvent} event */
  function onEvent(event) {
    list.ask();
    if (event.run && !store.get().selected.includes(event.run)) return;
    epochCurves.ask();
    epochDetail.ask();
    batchCurves.ask();
    if (event.type !== "change") details.ask();
  }

  function poll() {
    if (document.hidden) return;
    list.ask();
    details.ask();
    if (store.get().search) search.ask();
  }

  /** @type {number|undefined} */
  let changeTimer;

  /** Ask again when the first state changes by time alone. */
  function planChange() {
    window.clearTimeout(changeTimer);
    const { runs, selected, known } = store.get();
    const asked = new Set([...(runs ?? []).map(({ run }) => run), ...selected]);
    const rests = [...asked].flatMap((id) => {
      const run = known[id];
      return run && run.state_holds_s !== null ? [run.state_holds_s - since(run, 0)] : [];
    });
    if (rests.length > 0) changeTimer = window.setTimeout(poll, Math.max(FIRST_CHANGE_MS, Math.min(...rests) * 1000 + 50));
  }

  list.ask();
  const timer = window.setInterval(poll, POLL_INTERVAL_MS);
  const ends = [
    shareStream({ onEvent, onConnection: (connection) => store.set({ connection }) }),
    watch(store, (state) => [questionEpochs(state)], epochCurves.ask),
    watch(store, (state) => [questionEpochDetail(state)], epochDetail.ask),
    watch(store, (state) => [questionBatches(state)], batchCurves.ask),
    watch(store, (state) => [state.epochCurves, state.why], epochs.ask),
    watch(store, (state) => [state.selected], details.ask),
    watch(store, (state) => [state.archived], list.ask),
    watch(store, (state) => [state.search, state.total, state.archived], search.ask),
    watch(store, (state) => [state.runs, state.known], planChange),
    listen(window, "online", poll),
    listen(document, "visibilitychange", poll),
  ];
  return () => {
    window.clearInterval(timer);
    window.clearTimeout(changeTimer);
    for (const end of ends) end();
    for (const limiter of limiters) limiter.dispose();
  };
}

/**
 * Put what went wrong where a notice can say it.
 *
 * A service that is away is told by the stream, which also says since when; here it would be told twice.
 * @param {Store} store
 * @param {() => Promise<unknown>} ask
 */
async function guard(store, ask) {
  try {
    await ask();
    if (store.get().connection.state === "refused") store.set({ connection: { state: "live", sinceMs: Date.now() } });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.isRefused) store.set({ connection: { state: "refused", sinceMs: Date.now() } });
    else if (!error.isAway) store.set({ fault: error.message });
  }
}

/**
 * @param {Store} store
 * @param {string} run
 * @returns {Promise<RunDetail|null>} null for a run that the service does not have; it is taken off the charts
 */
async function getDetail(store, run) {
  try {
    return await getJson(`/runs/${run}`);
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 404) throw error;
    store.set({
      selected: store.get().selected.filter((other) => other !== run),
      fault: `There is no run ${run} here. It may have been deleted.`,
    });
    return null;
  }
}

/**
 * @param {boolean} archived
 * @param {string} [search]
 */
function listQuery(archived, search) {
  return new URLSearchParams({ limit: LISTED_RUNS, ...(archived && { archived: "only" }), ...(search && { search }) });
}

/**
 * A run's own answer in the shape of the list's.
 * @param {RunDetail} detail
 * @returns {Run}
 */
export function listDetail(detail) {
  return stampRun({ ...detail, series: detail.series.map(({ series }) => series) });
}

/**
 * @param {Run} run
 * @returns {Run}
 */
function stampRun(run) {
  return { ...run, listedAt: Date.now() };
}

/**
 * @param {Record<string, Run>} known
 * @param {Run[]} runs
 * @returns {Record<string, Run>}
 */
function mergeRuns(known, runs) {
  return { ...known, ...Object.fromEntries(runs.map((run) => [run.run, run])) };
}
