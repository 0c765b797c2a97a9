// The page's one state: replaced as a whole, its watchers told once for all changes of a turn.

/** @typedef {import("./types.js").State} State */

/**
 * @typedef {object} Store
 * @prop {() => State} get
 * @prop {(change: Partial<State>) => void} set
 * @prop {(watch: (state: State) => void) => () => void} subscribe  calls back at once and after changes; returns the end of it
 */

/**
 * Make the store.
 * @param {State} initial
 * @returns {Store}
 */
export function createStore(initial) {
  let state = initial;
  let isTelling = false;
  /** @type {Set<(state: State) => void>} */
  const watchers = new Set();

  function tell() {
    isTelling = false;
    for (const watch of [...watchers]) watch(state);
  }

  return {
    get: () => state,
    set(change) {
      state = { ...state, ...change };
      if (isTelling) return;
      isTelling = true;
      queueMicrotask(tell);
    },
    subscribe(watch) {
      watchers.add(watch);
      watch(state);
      return () => watchers.delete(watch);
    },
  };
}

/**
 * Run a view's `draw` only when one of the values it reads is another.
 * @param {Store} store
 * @param {(state: State) => unknown[]} pick
 * @param {(state: State) => void} draw
 * @returns {() => void}
 */
export function watch(store, pick, draw) {
  /** @type {unknown[]|null} */
  let before = null;
  return store.subscribe((state) => {
    const now = pick(state);
    if (before && now.every((value, i) => Object.is(value, before?.[i]))) return;
    before = now;
    draw(state);
  });
}
