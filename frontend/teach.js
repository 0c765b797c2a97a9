// The page without runs: the two lines that bring one.

import { make, setText } from "./dom.js";
import { watch } from "./store.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./store.js").Store} Store */

const TWO_LINES = "import lossboard\nlossboard.watch(loss_func, train_ldr)";
const COPIED_MS = 2000;

/**
 * Show how to begin while there is no run.
 * @param {HTMLElement} root
 * @param {Store} store
 * @returns {() => void}
 */
export function showTeaching(root, store) {
  root.append(
    make("h2", { id: "teach-title" }, "No runs yet"),
    make("p", {}, "Put two lines into a training script, before its loop:"),
    makeCode("two-lines", TWO_LINES),
    make("p", {}, "Start the script. Its run appears here by itself, with the first batch."),
    make("details", {}, make("summary", {}, "Without PyTorch"), make("p", {}, "Any loop, one line a batch:"), makeCode("log-lines", logLines()), make("p", {}, "Anything that speaks HTTP:"), makeCode("curl-lines", curlLines())),
  );
  const isWithoutRuns = (/** @type {State} */ state) => state.runs?.length === 0 && state.selected.length === 0 && state.archivedTotal === 0 && !state.archived;
  return watch(store, (state) => [isWithoutRuns(state)], (state) => {
    const isEmpty = isWithoutRuns(state);
    root.hidden = !isEmpty;
    document.body.classList.toggle("is-empty", isEmpty);
  });
}

function logLines() {
  return "import lossboard\nrun = lossboard.init()\nrun.log(epoch, batch, loss, batch_size)";
}

function curlLines() {
  return [
    `RUN=${location.origin}/api/v1/runs/first`,
    'TOKEN="Authorization: Bearer $(lossboard token)"',
    `curl -H "$TOKEN" -X PUT $RUN --json '{}'`,
    `curl -H "$TOKEN" $RUN/records --json \\`,
    `  '{"records":[{"epoch":0,"batch":0,"loss":4.5,"batch_size":2}]}'`,
  ].join("\n");
}

/**
 * @param {string} id
 * @param {string} text
 */
function makeCode(id, text) {
  const code = make("code", {}, text);
  const copy = make("button", { type: "button", class: "button" }, "Copy");
  copy.addEventListener("click", async () => {
    setText(copy, (await copyText(text, code)) ? "Copied" : "Selected");
    window.setTimeout(() => setText(copy, "Copy"), COPIED_MS);
  });
  return make("div", { class: "code", id }, make("pre", { tabindex: "0" }, code), copy);
}

/**
 * @param {string} text
 * @param {HTMLElement} element  selected instead where the browser has no clipboard to offer
 * @returns {Promise<boolean>}
 */
async function copyText(text, element) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection()?.selectAllChildren(element); // plain HTTP off loopback, or not allowed: ready for Ctrl-C
    return false;
  }
}
