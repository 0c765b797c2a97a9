// The menu of a run in the list: edit, archive or restore, delete.

import { listen, make, setAttribute } from "./dom.js";
import { editRun } from "./run-actions.js";
import { confirmDeletion, openEditor } from "./run-dialogs.js";

/** @typedef {import("./types.js").Run} Run */
/** @typedef {import("./store.js").Store} Store */

const EDGE = 8; // px between the menu and the edge of the window

/**
 * @typedef {object} RunMenu
 * @prop {(run: Run, button: HTMLElement) => void} open
 * @prop {() => void} dispose
 */

/**
 * Make the one menu that all rows share.
 * @param {HTMLElement} root  where the list stands
 * @param {Store} store
 * @returns {RunMenu}
 */
export function createMenu(root, store) {
  const edit = makeItem("Edit…");
  const archive = makeItem("Archive");
  const restore = makeItem("Restore");
  const remove = makeItem("Delete…", "is-grave");
  const menu = make("div", { class: "menu", role: "menu", popover: "auto", "aria-label": "Run" }, edit, archive, restore, remove);
  root.append(menu);
  /** @type {{run: Run, button: HTMLElement}|null} */
  let at = null;

  /** @param {(run: Run) => unknown} act */
  function choose(act) {
    const run = at?.run;
    menu.hidePopover();
    if (run) act(run);
  }

  /** @param {Run} run @param {boolean} archived */
  async function setArchived(run, archived) {
    try {
      await editRun(store, run.run, { archived });
    } catch (error) {
      store.set({ fault: `${run.name} could not be ${archived ? "archived" : "restored"}. ${error instanceof Error ? error.message : ""}` });
    }
  }

  const ends = [
    listen(edit, "click", () => choose((run) => openEditor(store, run))),
    listen(archive, "click", () => choose((run) => setArchived(run, true))),
    listen(restore, "click", () => choose((run) => setArchived(run, false))),
    listen(remove, "click", () => choose((run) => confirmDeletion(store, run))),
    listen(menu, "keydown", (event) => moveFocus(event, menu)),
    listen(menu, "toggle", (/** @type {ToggleEvent} */ event) => {
      if (at) setAttribute(at.button, "aria-expanded", String(event.newState === "open"));
      if (event.newState !== "closed") return;
      if (menu.contains(document.activeElement) || document.activeElement === document.body) at?.button.focus();
      at = null;
    }),
    listen(root, "scroll", () => at && menu.hidePopover()),
  ];

  return {
    open(run, button) {
      const isArchived = Boolean(run.archived_unix_s);
      archive.hidden = isArchived;
      restore.hidden = !isArchived;
      remove.hidden = !isArchived;
      setAttribute(menu, "aria-label", run.name);
      menu.showPopover();
      at = { run, button };
      setAttribute(button, "aria-expanded", "true");
      place(menu, button);
      edit.focus();
    },
    dispose() {
      for (const end of ends) end();
      menu.remove();
    },
  };
}

/**
 * @param {string} text
 * @param {string} [kind]
 */
function makeItem(text, kind = "") {
  return make("button", { type: "button", role: "menuitem", class: `menu-item ${kind}`.trim(), tabindex: "-1" }, text);
}

/**
 * Put the menu under its button, or above it where the window ends.
 * @param {HTMLElement} menu
 * @param {HTMLElement} button
 */
function place(menu, button) {
  const near = button.getBoundingClientRect();
  const { width, height } = menu.getBoundingClientRect();
  const left = Math.max(EDGE, Math.min(near.right - width, window.innerWidth - width - EDGE));
  const isBelow = near.bottom + height + EDGE <= window.innerHeight;
  menu.style.left = `${left}px`;
  menu.style.top = `${isBelow ? near.bottom : Math.max(EDGE, near.top - height)}px`;
}

/**
 * @param {KeyboardEvent} event
 * @param {HTMLElement} menu
 */
function moveFocus(event, menu) {
  if (event.key === "Tab") return menu.hidePopover();
  const items = [...menu.querySelectorAll("button")].filter((item) => !item.hidden);
  const at = items.findIndex((item) => item === document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1 + items.length, Home: 0, End: items.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  items[to % items.length]?.focus();
}
