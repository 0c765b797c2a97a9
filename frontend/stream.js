// One tab's event stream from the service, kept open through restarts by its own backoff.

import { ApiError, getJson } from "./api.js";

/** @typedef {import("./types.js").Connection} Connection */
/** @typedef {import("./types.js").StreamEvent} StreamEvent */

/**
 * @typedef {object} StreamListener
 * @prop {(event: StreamEvent) => void} onEvent
 * @prop {(connection: Connection) => void} onConnection
 */

const FIRST_RETRY_MS = 250; // a restart on this machine takes about a second
const LAST_RETRY_MS = 4000;

/**
 * Open the stream and keep it open.
 *
 * The browser's own retry is not used: it gives up for good on an HTTP error, and tells no
 * status. Each opening tells a `reset`, since the new stream knows nothing of what came before it.
 * @param {StreamListener} listener
 * @returns {() => void} closes it
 */
export function openStream(listener) {
  /** @type {EventSource|null} */
  let source = null;
  /** @type {number|undefined} */
  let timer;
  let retryMs = FIRST_RETRY_MS;
  let isOver = false;
  /** @type {Connection} */
  let connection = { state: "connecting", sinceMs: Date.now() };

  /** @param {Connection["state"]} state */
  function become(state) {
    if (isOver || connection.state === state) return;
    const isStillAway = state !== "live" && connection.state !== "live" && connection.state !== "connecting";
    connection = { state, sinceMs: isStillAway ? connection.sinceMs : Date.now() };
    listener.onConnection(connection);
  }

  function open() {
    source = new EventSource("/api/v1/events");
    source.onopen = () => {
      retryMs = FIRST_RETRY_MS;
      become("live");
      listener.onEvent({ type: "reset" });
    };
    source.onerror = () => void retry();
    for (const type of /** @type {const} */ (["change", "runs", "reset"])) {
      source.addEventListener(type, (message) => listener.onEvent({ type, run: readRun(message.data) }));
    }
  }

  async function retry() {
    source?.close();
    const state = await askWhy();
    if (isOver) return;
    become(state);
    timer = window.setTimeout(open, retryMs * (0.8 + 0.4 * Math.random()));
    retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
  }

  open();
  return () => {
    isOver = true;
    window.clearTimeout(timer);
    source?.close();
  };
}

/** @returns {Promise<"lost"|"refused">} */
async function askWhy() {
  try {
    await getJson("/runs", new URLSearchParams({ limit: "1" }));
    return "lost"; // the stream ended but the service answers: it is just coming back
  } catch (error) {
    return error instanceof ApiError && error.isRefused ? "refused" : "lost";
  }
}

/**
 * @param {string} data
 * @returns {string|undefined}
 */
function readRun(data) {
  try {
    return JSON.parse(data).run;
  } catch {
    return undefined; // an event that names no run concerns all of them
  }
}
