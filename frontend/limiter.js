// Doing asynchronous work one at a time and not too often, dropping all asks but the newest.

/**
 * @typedef {object} Limiter
 * @prop {() => void} ask      wants one more go; asks that come while one waits are one
 * @prop {() => void} dispose  no further go starts
 */

/**
 * Never run `work` twice at once, and start it at most once in `intervalMs`.
 *
 * What is dropped: every ask but the newest. `work` reads the current state when it starts,
 * so nothing is lost by that. A failure of `work` is its own to handle; here it only frees the way.
 * @param {() => Promise<void>|void} work
 * @param {number} intervalMs
 * @returns {Limiter}
 */
export function createLimiter(work, intervalMs) {
  let isBusy = false;
  let isWanted = false;
  let isOver = false;
  let startedMs = -Infinity;
  /** @type {number|undefined} */
  let timer;

  function plan() {
    if (isOver || isBusy || !isWanted || timer !== undefined) return;
    timer = window.setTimeout(run, Math.max(0, startedMs + intervalMs - performance.now()));
  }

  async function run() {
    timer = undefined;
    if (isOver) return;
    isWanted = false;
    isBusy = true;
    startedMs = performance.now();
    try {
      await work();
    } catch (error) {
      console.error(error);
    } finally {
      isBusy = false;
      plan();
    }
  }

  return {
    ask() {
      isWanted = true;
      plan();
    },
    dispose() {
      isOver = true;
      window.clearTimeout(timer);
    },
  };
}
