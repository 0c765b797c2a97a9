// The one way in which the page tells something beside its numbers.

import { make, setMarked, setText } from "./dom.js";

/**
 * @typedef {object} Notice
 * @prop {"info"|"warn"|"error"} level
 * @prop {string} text              what is so, and what to do; a command between backquotes
 * @prop {string} [age]             how long it has been so; ticks without being read aloud
 * @prop {{label: string, run: () => void}} [action]
 */

/**
 * Make the function that shows, changes or, with null, takes away the notice of a key.
 * @param {HTMLElement} root  a live region
 * @returns {(key: string, notice: Notice|null) => void}
 */
export function createNotices(root) {
  /** @type {Map<string, {element: HTMLElement, text: HTMLElement, age: HTMLElement, button: HTMLButtonElement, notice: Notice}>} */
  const shown = new Map();

  /** @param {string} key */
  function add(key) {
    const text = make("span", { class: "notice-text" });
    const age = make("span", { class: "notice-age", "aria-hidden": "true" });
    const button = make("button", { type: "button", class: "button" });
    const element = make("div", { class: "notice", "data-notice": key }, make("p", {}, text, " ", age), button);
    const entry = { element, text, age, button, notice: /** @type {Notice} */ ({ level: "info", text: "" }) };
    button.addEventListener("click", () => entry.notice.action?.run());
    root.append(element);
    shown.set(key, entry);
    return entry;
  }

  return (key, notice) => {
    if (!notice) {
      shown.get(key)?.element.remove();
      shown.delete(key);
      return;
    }
    const entry = shown.get(key) ?? add(key);
    entry.notice = notice;
    entry.element.dataset["level"] = notice.level;
    setMarked(entry.text, notice.text);
    setText(entry.age, notice.age ?? "");
    entry.button.hidden = !notice.action;
    setText(entry.button, notice.action?.label ?? "");
  };
}
