// Light or dark: the system's choice until the reader makes one.

import { listen } from "./dom.js";

/** @typedef {import("./types.js").Theme} Theme */
/** @typedef {import("./store.js").Store} Store */

const STORAGE_KEY = "lossboard.theme";
const system = window.matchMedia("(prefers-color-scheme: dark)");

/** @returns {{theme: Theme, isDark: boolean}} */
export function readTheme() {
  const kept = localStorage.getItem(STORAGE_KEY);
  const theme = kept === "light" || kept === "dark" ? kept : "system";
  return { theme, isDark: isDark(theme) };
}

/**
 * Keep the document's theme in step with the store's, and the store's in step with the system.
 * @param {Store} store
 * @returns {() => void}
 */
export function followTheme(store) {
  const unlisten = listen(system, "change", () => store.set({ isDark: isDark(store.get().theme) }));
  apply(store.get().theme);
  return unlisten;
}

/**
 * Turn to the other theme and keep it; the one that the system has anyway is not kept.
 * @param {Store} store
 */
export function toggleTheme(store) {
  const wanted = store.get().isDark ? "light" : "dark";
  /** @type {Theme} */
  const theme = (wanted === "dark") === system.matches ? "system" : wanted;
  if (theme === "system") localStorage.removeItem(STORAGE_KEY);
  else localStorage.setItem(STORAGE_KEY, theme);
  apply(theme);
  store.set({ theme, isDark: isDark(theme) });
}

/** @param {Theme} theme */
function apply(theme) {
  if (theme === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
}

/** @param {Theme} theme */
function isDark(theme) {
  return theme === "system" ? system.matches : theme === "dark";
}
