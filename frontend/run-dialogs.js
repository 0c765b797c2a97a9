// The two dialogs of a run: what people say of it, and whether it is to be deleted for good.

import { make, setText } from "./dom.js";
import { formatBytes, formatCounted } from "./format.js";
import { askRun, deleteRun, editRun } from "./run-actions.js";

/** @typedef {import("./types.js").Run} Run */
/** @typedef {import("./store.js").Store} Store */
/** @typedef {import("./run-actions.js").Edit} Edit */

/**
 * @typedef {object} Dialog
 * @prop {HTMLDialogElement} root
 * @prop {HTMLButtonElement} go
 * @prop {HTMLElement} fault
 */

/**
 * Open the dialog in which a run is named, described and coloured.
 * @param {Store} store
 * @param {Run} run
 */
export async function openEditor(store, run) {
  const name = make("input", { id: "edit-name", maxlength: "200", required: true, autocomplete: "off" });
  const tags = make("input", { id: "edit-tags", autocomplete: "off", placeholder: "with commas between them" });
  const notes = make("textarea", { id: "edit-notes", rows: "5", maxlength: "20000" });
  const colour = make("input", { type: "color", id: "edit-colour", "aria-label": "Own colour" });
  const isOwn = make("input", { type: "checkbox", id: "edit-own" });
  const dialog = makeDialog(
    "Edit run", "Save",
    field("Name", name), field("Tags", tags), field("Notes", notes),
    make("div", { class: "field" }, make("label", { for: "edit-own" }, "Colour"), make("div", { class: "field-colour" }, make("label", {}, isOwn, "Its own"), colour)),
  );
  isOwn.addEventListener("change", () => (colour.disabled = !isOwn.checked));
  /** @type {Required<Omit<Edit, "archived">>} */
  const before = { name: run.name, tags: run.tags, notes: "", colour: run.colour ?? null };
  /** @returns {Required<Omit<Edit, "archived">>} */
  const told = () => ({
    name: name.value.trim(),
    tags: [...new Set(tags.value.split(",").map((tag) => tag.trim()).filter(Boolean))],
    notes: notes.value,
    colour: isOwn.checked ? colour.value : null,
  });
  name.value = run.name;
  tags.value = run.tags.join(", ");
  isOwn.checked = before.colour !== null;
  colour.disabled = !isOwn.checked;
  colour.value = before.colour ?? "#1668c7";
  notes.disabled = true;
  show(dialog, async () => {
    const after = told();
    const changed = Object.entries(after).filter(([key, value]) => JSON.stringify(value) !== JSON.stringify(before[/** @type {keyof typeof before} */ (key)]));
    if (changed.length > 0) await editRun(store, run.run, Object.fromEntries(changed));
  });
  name.select();
  await tell(dialog, async () => {
    before.notes = (await askRun(run.run)).notes ?? "";
    notes.value = before.notes;
    notes.disabled = false;
  });
}

/**
 * Tell how much a run is, and delete it where that is meant.
 * @param {Store} store
 * @param {Run} run
 */
export async function confirmDeletion(store, run) {
  const size = make("p", { id: "delete-size" }, "Measuring…");
  const dialog = makeDialog(`Delete ${run.name}?`, "Delete", size, make("p", {}, "It is deleted for good and can't be brought back."));
  dialog.go.classList.add("is-grave");
  dialog.go.disabled = true;
  dialog.root.setAttribute("aria-describedby", "delete-size");
  show(dialog, () => deleteRun(store, run.run));
  await tell(dialog, async () => {
    const { stored, records } = await askRun(run.run);
    setText(size, `${formatCounted(stored?.records ?? records, "record")}, about ${formatBytes(stored?.bytes ?? 0)}.`);
    dialog.go.disabled = false;
  });
}

/**
 * @param {string} title
 * @param {string} go     what the button says that does it
 * @param {...HTMLElement} parts
 * @returns {Dialog}
 */
function makeDialog(title, go, ...parts) {
  const doIt = make("button", { type: "submit", class: "button" }, go);
  const cancel = make("button", { type: "button", class: "button is-quiet", value: "cancel" }, "Cancel");
  const fault = make("p", { class: "fault", role: "alert" });
  const root = make(
    "dialog", { class: "dialog", "aria-labelledby": "dialog-title" },
    make("form", { method: "dialog" }, make("h2", { id: "dialog-title" }, title), ...parts, fault, make("div", { class: "dialog-end" }, doIt, cancel)),
  );
  cancel.addEventListener("click", () => root.close());
  root.addEventListener("close", () => root.remove());
  return { root, go: doIt, fault };
}

/**
 * Show a dialog until its deed is done or it is left.
 * @param {Dialog} dialog
 * @param {() => Promise<void>} act
 */
function show(dialog, act) {
  document.body.append(dialog.root);
  dialog.root.addEventListener("submit", async (event) => {
    event.preventDefault();
    dialog.go.disabled = true;
    if (await tell(dialog, act)) dialog.root.close();
    dialog.go.disabled = false;
  });
  dialog.root.showModal();
}

/**
 * Do something, and say in the dialog what went wrong.
 * @param {Dialog} dialog
 * @param {() => Promise<void>} act
 * @returns {Promise<boolean>} whether it went well
 */
async function tell(dialog, act) {
  try {
    await act();
    setText(dialog.fault, "");
    return true;
  } catch (error) {
    setText(dialog.fault, error instanceof Error ? error.message : String(error));
    return false;
  }
}

/**
 * @param {string} text
 * @param {HTMLElement} control
 */
function field(text, control) {
  return make("div", { class: "field" }, make("label", { for: control.id }, text), control);
}
