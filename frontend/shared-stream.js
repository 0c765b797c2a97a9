// The one event stream of a browser: one tab holds it, the others hear from that tab.

import { listen } from "./dom.js";
import { openStream } from "./stream.js";

/** @typedef {import("./types.js").Connection} Connection */
/** @typedef {import("./types.js").StreamEvent} StreamEvent */
/** @typedef {import("./stream.js").StreamListener} StreamListener */
/** @typedef {{event?: StreamEvent, connection?: Connection, hello?: true}} Message */

const NAME = "lossboard-stream";
const HIDDEN_GRACE_MS = 10_000; // then a hidden tab lets go: six open streams stall HTTP/1.1 for a browser

/**
 * Hear what changed while this tab is seen.
 *
 * Tabs queue for one lock; its holder opens the stream and passes everything on. Where a
 * browser has no locks (plain HTTP off loopback) each visible tab opens its own.
 * A tab that comes back after letting go is told `reset`.
 * @param {StreamListener} listener
 * @returns {() => void}
 */
export function shareStream(listener) {
  const channel = new BroadcastChannel(NAME);
  /** @type {Connection|null} */
  let held = null; // the connection, while this tab holds the stream
  /** @type {AbortController|null} */
  let part = null; // aborted when this tab lets go
  /** @type {number|undefined} */
  let timer;

  /** @param {Message} message */
  function pass(message) {
    if (message.event) listener.onEvent(message.event);
    if (message.connection) listener.onConnection(message.connection);
  }

  /** @param {AbortSignal} signal */
  function hold(signal) {
    held = { state: "connecting", sinceMs: Date.now() };
    const send = (/** @type {Message} */ message) => {
      pass(message);
      channel.postMessage(message);
    };
    const close = openStream({
      onEvent: (event) => send({ event }),
      onConnection(connection) {
        held = connection;
        send({ connection });
      },
    });
    return new Promise((resolve) => {
      signal.addEventListener("abort", () => {
        held = null;
        close();
        resolve(undefined);
      });
    });
  }

  function takePart() {
    if (part) return;
    part = new AbortController();
    const { signal } = part;
    if (!navigator.locks) return void hold(signal);
    navigator.locks.request(NAME, { signal }, () => hold(signal)).catch(() => {}); // aborted in the queue: this tab let go
    channel.postMessage({ hello: true });
  }

  function letGo() {
    part?.abort();
    part = null;
  }

  function onVisibility() {
    window.clearTimeout(timer);
    if (document.hidden) {
      timer = window.setTimeout(letGo, HIDDEN_GRACE_MS);
    } else if (!part) {
      takePart();
      listener.onEvent({ type: "reset" });
    }
  }

  const unhear = listen(channel, "message", (/** @type {MessageEvent<Message>} */ { data }) => {
    if (data.hello && held) channel.postMessage({ connection: held });
    else if (part && !held) pass(data);
  });
  const unlisten = listen(document, "visibilitychange", onVisibility);
  if (document.hidden) timer = window.setTimeout(letGo, HIDDEN_GRACE_MS);
  takePart();
  return () => {
    unlisten();
    unhear();
    window.clearTimeout(timer);
    letGo();
    channel.close();
  };
}
