// Radio groups bound to the store, and the bar at the top that holds the page's choices.

import { listen, make, setAttribute, setText } from "./dom.js";
import { unitOf } from "./format.js";
import { watch } from "./store.js";
import { toggleTheme } from "./theme.js";
import { AXES, AXIS_LABELS, VIEWS, axisInForce, fittingLayout, labelView, layoutInForce, lossInForce, lossNames, offeredAxes, offeredLayouts, offeredViews, selectedRuns } from "./views.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./store.js").Store} Store */

/**
 * @template {string} T
 * @typedef {object} RadioGroup
 * @prop {string} name
 * @prop {string} legend                           for screen readers
 * @prop {(state: State) => T} pick                the value in force
 * @prop {(value: T) => void} choose
 * @prop {(state: State) => [T, string][]} choices value and label; the values stay the same
 * @prop {(state: State) => T[]} [offered]         those that are seen; missing: all
 */

/**
 * Make a radio group that shows and changes one value of the store.
 * @template {string} T
 * @param {Store} store
 * @param {RadioGroup<T>} group
 * @returns {{root: HTMLElement, dispose: () => void}}
 */
export function createRadios(store, { name, legend, pick, choose, choices, offered }) {
  const root = make("fieldset", { class: "radios", id: name }, make("legend", { class: "unseen" }, legend));
  /** @type {Map<T, {input: HTMLInputElement, label: HTMLElement, outer: HTMLElement}>} */
  const made = new Map();
  for (const [value] of choices(store.get())) {
    const input = make("input", { type: "radio", name, value, id: `${name}-${value}` });
    const label = make("span");
    input.addEventListener("change", () => input.checked && choose(value));
    const outer = make("label", { class: "radio" }, input, label);
    root.append(outer);
    made.set(value, { input, label, outer });
  }
  const dispose = store.subscribe((state) => {
    const seen = offered?.(state);
    for (const [value, text] of choices(state)) {
      const radio = made.get(value);
      if (!radio) continue;
      setText(radio.label, text);
      radio.outer.hidden = seen !== undefined && !seen.includes(value);
      radio.input.checked = pick(state) === value;
    }
  });
  return { root, dispose };
}

/**
 * Fill the top bar.
 * @param {HTMLElement} bar
 * @param {Store} store
 * @returns {() => void}
 */
export function showBar(bar, store) {
  const view = createRadios(store, {
    name: "view", legend: "View", pick: (state) => state.view, choose: (value) => store.set({ view: value }),
    choices: (state) => VIEWS.map((value) => [value, labelView(value, unitOf(selectedRuns(state).map((run) => run.weight_unit)))]),
    offered: offeredViews,
  });
  const x = createRadios(store, {
    name: "x", legend: "Horizontal axis", pick: axisInForce, choose: (value) => store.set({ x: value, batchZoom: null }),
    choices: () => AXES.map((value) => [value, AXIS_LABELS[value]]),
    offered: offeredAxes,
  });
  const layout = createRadios(store, {
    name: "layout", legend: "Layout", pick: layoutInForce, choose: (value) => store.set({ layout: value === fittingLayout(store.get()) ? null : value }),
    choices: () => [["overlay", "Overlay"], ["side", "Side by side"], ["difference", "Difference"]],
    offered: offeredLayouts,
  });
  const loss = createLossChoice(store);
  const theme = createThemeToggle(store);
  bar.append(view.root, x.root, layout.root, loss.root, theme.root);
  const parts = [view, x, layout, loss, theme];
  return () => parts.forEach((part) => part.dispose());
}

/**
 * The choice between a run's losses; unseen where there is only one.
 * @param {Store} store
 */
function createLossChoice(store) {
  const select = make("select", { id: "loss", "aria-label": "Loss" });
  const root = make("span", { class: "choice" }, select);
  const unlisten = listen(select, "change", () => store.set({ loss: select.value }));
  const unwatch = watch(store, (state) => [lossNames(state).join("\n"), lossInForce(state)], (state) => {
    const names = lossNames(state);
    root.hidden = names.length < 2;
    select.replaceChildren(...names.map((name) => make("option", { value: name }, name)));
    select.value = lossInForce(state) ?? "";
  });
  return {
    root,
    dispose() {
      unlisten();
      unwatch();
    },
  };
}

/** @param {Store} store */
function createThemeToggle(store) {
  const root = make("button", { type: "button", class: "button theme", id: "theme" });
  const unlisten = listen(root, "click", () => toggleTheme(store));
  const unwatch = watch(store, (state) => [state.isDark], (state) => {
    setText(root, state.isDark ? "Light" : "Dark");
    setAttribute(root, "aria-label", state.isDark ? "Light theme" : "Dark theme");
  });
  return {
    root,
    dispose() {
      unlisten();
      unwatch();
    },
  };
}
