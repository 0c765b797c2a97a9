// The panel that answers why a number is what it is: beside the charts, on a narrow screen a sheet below them.

import { cssColour } from "./colours.js";
import { listen, make, setAttribute, setText } from "./dom.js";
import { formatCount } from "./format.js";
import { keyWhy, whyInForce } from "./questions.js";
import { watch } from "./store.js";
import { epochsKey, shownEpoch, splitOf } from "./views.js";
import { drawAnswer, titleWhy } from "./why-answer.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Why} Why */
/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("./colours.js").Colours} Colours */

/**
 * Show the panel while something is asked about.
 * @param {HTMLElement} root
 * @param {Store} store
 * @param {Colours} colours
 * @returns {() => void}
 */
export function showWhy(root, store, colours) {
  const parts = makeParts();
  root.append(parts.head, parts.tell, parts.body);
  const search = document.getElementById("search"); // there Escape empties the search
  /** @type {Element|null} */
  let opener = null;
  let before = store.get().why; // an address that asks takes no focus; a reader who asks is led to the answer

  function close() {
    store.set({ why: null });
    const way = opener?.isConnected ? opener : document.querySelector('#values button[tabindex="0"]');
    if (root.contains(document.activeElement) && way instanceof HTMLElement) way.focus();
    opener = null;
  }

  /** @param {State} state */
  function draw(state) {
    const { why } = state;
    root.hidden = why === null;
    document.body.classList.toggle("has-why", why !== null);
    if (why) drawParts(parts, state, why, colours);
    if (why && isOther(why, before)) {
      if (!root.contains(document.activeElement)) opener = document.activeElement;
      root.scrollTop = 0;
      parts.title.focus({ preventScroll: true });
    }
    before = why;
  }

  const ends = [
    watch(store, (state) => [state.why, state.view, keyWhy(state), state.explained, state.whyFault, state.epochs, state.known, state.details], draw),
    listen(document, "keydown", (event) => event.key === "Escape" && store.get().why && event.target !== search && close()),
    listen(parts.close, "click", close),
    listen(parts.again, "click", () => store.set({ whyFault: null })),
    listen(parts.earlier, "click", () => step(store, -1)),
    listen(parts.later, "click", () => step(store, 1)),
  ];
  return () => ends.forEach((end) => end());
}

function makeParts() {
  const title = make("h2", { id: "why-title", tabindex: "-1", "aria-live": "polite" });
  const close = make("button", { type: "button", class: "button", "aria-label": "Close" }, "Close");
  const swatch = make("span", { class: "swatch" });
  const name = make("span", { class: "of-name" });
  const split = make("span", { class: "split" });
  const earlier = make("button", { type: "button", class: "button step", "aria-label": "Earlier epoch" }, "‹");
  const epoch = make("span", { class: "why-epoch" });
  const later = make("button", { type: "button", class: "button step", "aria-label": "Later epoch" }, "›");
  const of = make("p", { class: "why-of" }, swatch, name, split, make("span", { class: "why-step" }, earlier, epoch, later));
  const said = make("span");
  const again = make("button", { type: "button", class: "button" }, "Try again");
  const tell = make("p", { class: "why-tell", role: "status" }, said, " ", again);
  const body = make("div", { class: "why-body" });
  const head = make("header", { class: "why-head" }, title, close, of);
  return { head, title, close, swatch, name, split, earlier, epoch, later, tell, said, again, body };
}

/**
 * @param {ReturnType<typeof makeParts>} parts
 * @param {State} state
 * @param {Why} why
 * @param {Colours} colours
 */
function drawParts(parts, state, why, colours) {
  const run = state.known[why.run];
  const key = keyWhy(state);
  const isThis = key !== null && state.explained?.key === key;
  const answer = isThis ? state.explained?.answer : undefined;
  const fault = key !== null && state.whyFault?.key === key ? state.whyFault.message : "";
  const field = why.field ?? state.view;
  setText(parts.title, answer ? titleWhy(answer, field) : "Why?");
  parts.swatch.className = splitOf(why.series) === "train" ? "swatch" : "swatch is-val";
  parts.swatch.style.setProperty("--hue", cssColour(colours.look(why.run)));
  setText(parts.name, run?.name ?? why.run);
  setText(parts.split, splitOf(why.series));
  drawStepper(parts, state, why);
  const isMissing = run && !run.series.includes(why.series);
  const tell = isMissing ? `${run.name} has no series ${why.series}.` : fault || (answer ? "" : "Reading the epoch.");
  parts.tell.hidden = tell === "";
  setText(parts.said, tell);
  parts.again.hidden = fault === "" || Boolean(isMissing);
  setAttribute(parts.body, "aria-busy", answer || fault ? null : "true");
  const { environment, counts } = state.details[why.run] ?? {};
  const about = { frameworks: environment?.frameworks ?? {}, counts: { left_out: counts?.left_out, reasons: counts?.reasons } };
  if (answer) drawAnswer(parts.body, { answer, field, ...about });
  else if (isMissing || fault) parts.body.replaceChildren();
}

/**
 * @param {ReturnType<typeof makeParts>} parts
 * @param {State} state
 * @param {Why} why
 */
function drawStepper(parts, state, why) {
  const epochs = listEpochs(state, why);
  const asked = whyInForce(state);
  const now = asked?.epoch ?? null;
  const at = epochs.indexOf(now ?? -1);
  setText(parts.epoch, now !== null ? `epoch ${formatCount(now)}` : asked ? "no epoch told" : "");
  // Not `disabled`, which would throw the focus away at the first and the last epoch.
  setAttribute(parts.earlier, "aria-disabled", String(at <= 0));
  setAttribute(parts.later, "aria-disabled", String(at < 0 || at === epochs.length - 1));
}

/**
 * Go to a neighbouring epoch; at the one that the table shows, go with it from then on.
 * @param {Store} store
 * @param {-1|1} by
 */
function step(store, by) {
  const state = store.get();
  const { why } = state;
  if (!why) return;
  const epochs = listEpochs(state, why);
  const at = epochs.indexOf(whyInForce(state)?.epoch ?? -1);
  const epoch = at < 0 ? undefined : epochs[at + by];
  if (epoch === undefined) return;
  const shown = shownEpoch(state.epochs[epochsKey(why.run, why.series)])?.epoch;
  store.set({ why: { ...why, epoch: epoch === shown ? null : epoch } });
}

/**
 * @param {State} state
 * @param {Why} why
 * @returns {number[]}
 */
function listEpochs({ epochs }, { run, series }) {
  return (epochs[epochsKey(run, series)]?.epochs ?? []).flatMap((row) => row.epoch ?? []);
}

/**
 * @param {Why} why
 * @param {Why|null} before
 */
function isOther(why, before) {
  return why.run !== before?.run || why.series !== before.series || why.field !== before.field;
}
