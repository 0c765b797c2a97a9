// Asks the service why a number is what it is: once for an epoch that is over, again as one that runs gets records.

import { ApiError, getJson } from "./api.js";
import { createLimiter } from "./limiter.js";
import { keyWhy, sizeWhy, whyInForce } from "./questions.js";
import { watch } from "./store.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Explanation} Explanation */
/** @typedef {import("./store.js").Store} Store */

const INTERVAL_MS = 1000;
const UNDECLARED = "undeclared"; // the epoch of a run that told none, in an address

/**
 * Start asking.
 * @param {Store} store
 * @returns {() => void} stops
 */
export function startWhy(store) {
  const limiter = createLimiter(() => askWhy(store), INTERVAL_MS);
  const ask = (/** @type {State} */ state) => keyWhy(state) !== null && limiter.ask();
  const ends = [
    watch(store, (state) => [keyWhy(state), sizeWhy(state), state.connection.state], ask),
    watch(store, (state) => [state.whyFault === null], (state) => state.whyFault === null && ask(state)), // to try again, the reader takes the fault away
    watch(store, (state) => [state.why, state.selected], ({ why, selected }) => {
      if (why && !selected.includes(why.run)) store.set({ why: null });
    }),
    limiter.dispose,
  ];
  return () => ends.forEach((end) => end());
}

/** @param {Store} store */
async function askWhy(store) {
  const asked = whyInForce(store.get());
  const key = keyWhy(store.get());
  if (!asked || key === null) return;
  const epoch = asked.epoch ?? UNDECLARED;
  try {
    /** @type {Explanation} */
    const answer = await getJson(`/runs/${asked.run}/epochs/${epoch}/explain`, new URLSearchParams({ series: asked.series }));
    if (keyWhy(store.get()) === key) store.set({ explained: { key, answer }, whyFault: null });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (keyWhy(store.get()) === key) store.set({ whyFault: { key, message: error.message } });
  }
}
