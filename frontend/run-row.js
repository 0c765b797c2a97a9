// One row of the list of runs.

import { cssColour } from "./colours.js";
import { make, makeSvg, setAttribute, setText } from "./dom.js";
import { formatAge, formatCount, formatLoss } from "./format.js";
import { explainMeaning, isDoubtful, labelMeaning } from "./meaning.js";
import { drawMark, makeMark, since, tellState } from "./run-state.js";

/** @typedef {import("./types.js").Run} Run */
/** @typedef {import("./types.js").RunDetail} RunDetail */
/** @typedef {import("./types.js").Meaning} Meaning */
/** @typedef {import("./types.js").Connection} Connection */
/** @typedef {import("./types.js").WireNumber} WireNumber */
/** @typedef {import("./colours.js").Look} Look */

/**
 * @typedef {object} Row
 * @prop {HTMLElement} root
 * @prop {HTMLInputElement} box
 * @prop {HTMLButtonElement} more
 * @prop {(run: Run, look: Look, isSelected: boolean, detail: RunDetail|undefined, connection: Connection) => void} draw
 * @prop {(run: Run, connection: Connection) => void} tick  only what time changes
 */

const SPARK = { width: 40, height: 20 };
const DAMAGED = "The database is damaged where this run stands. Whoever runs the service: end it, and lossboard doctor says what can be saved.";

/**
 * Make a row. Its box puts the run on the charts or takes it off; the rest of it shows only this run.
 * @param {string} id
 * @param {{onToggle: () => void, onOnly: () => void, onMore: (button: HTMLElement) => void}} handlers
 * @returns {Row}
 */
export function createRow(id, { onToggle, onOnly, onMore }) {
  const box = make("input", { type: "checkbox", id: `run-${id}`, "data-run": id });
  const name = make("span", { class: "run-name" });
  const value = make("span", { class: "run-value" });
  const mark = makeMark();
  const word = make("span", { class: "run-state" });
  const state = make("span", { class: "state" }, mark, word);
  const age = make("span", { class: "run-age" });
  const size = make("span", { class: "run-size" });
  const tags = make("span", { class: "run-tags" });
  const path = makeSvg("path", {});
  const spark = makeSvg("svg", { viewBox: `0 0 ${SPARK.width} ${SPARK.height}`, ...SPARK, class: "spark", "aria-hidden": "true" });
  spark.append(path);
  const only = make("button", { type: "button", class: "run-only", tabindex: "-1" }, name, value, make("span", { class: "run-facts" }, state, age, size, tags), spark);
  const more = make("button", { type: "button", class: "run-more", tabindex: "-1", "aria-haspopup": "menu", "aria-expanded": "false" }, "⋯");
  const root = make("li", { class: "run", "data-run": id }, make("label", { class: "run-box", title: "Show on the charts" }, box), only, more);
  more.addEventListener("click", () => onMore(more));
  box.addEventListener("change", onToggle);
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter") onOnly();
  });
  only.addEventListener("click", onOnly);

  /**
   * @param {Run} run
   * @param {Connection} connection
   */
  function tick(run, connection) {
    const told = tellState(run, connection);
    setAttribute(root, "data-state", run.state);
    setAttribute(root, "data-stale", told.isStale);
    setAttribute(box, "aria-label", `${run.name}, ${told.word}`);
    drawMark(mark, run.state);
    setText(word, told.word);
    setAttribute(state, "title", told.sentence);
    setText(age, run.last_record_age_s === null ? "no records" : formatAge(since(run, run.last_record_age_s)));
    setAttribute(age, "title", run.last_record_age_s === null ? null : told.isStale ? "since the last record that this page heard of" : "since the last record");
  }

  return {
    root,
    box,
    more,
    tick,
    draw(run, look, isSelected, detail, connection) {
      root.style.setProperty("--hue", cssColour(look));
      setAttribute(more, "aria-label", `More for ${run.name}`);
      box.checked = isSelected;
      root.classList.toggle("is-selected", isSelected);
      setAttribute(only, "aria-label", `Show only ${run.name}`);
      setAttribute(only, "title", `${run.name} (${run.run})\n${formatCount(run.records)} records${run.epoch === null ? "" : `, epoch ${run.epoch}`}`);
      setText(name, run.name);
      setText(value, run.damaged ? "damaged" : run.per_item === null ? "" : formatLoss(run.per_item));
      const meaning = meaningOfRun(run, detail);
      setAttribute(value, "title", run.damaged ? DAMAGED : `${labelMeaning(meaning)}, newest epoch. ${explainMeaning(meaning)}`.trim());
      setAttribute(value, "data-mark", run.per_item !== null && isDoubtful(meaning) ? "about" : null);
      setText(tags, run.tags.map((tag) => `#${tag}`).join(" "));
      setText(size, run.batch_size === null ? "" : `batch ${formatCount(run.batch_size)}`);
      setAttribute(path, "d", drawSpark(run.spark));
      tick(run, connection);
    },
  };
}

/**
 * What the run's number is: that of its first series. The list itself may say only its unit.
 * @param {Run} run
 * @param {RunDetail|undefined} detail  of a selected run
 * @returns {Meaning}
 */
function meaningOfRun(run, detail) {
  return detail?.series.find(({ series }) => series === run.series[0]) ?? run;
}

/**
 * @param {WireNumber[]} values
 * @returns {string} an SVG path with gaps where a value is missing
 */
function drawSpark(values) {
  const numbers = values.filter((value) => typeof value === "number");
  if (numbers.length < 2) return "";
  const [low, high] = [Math.min(...numbers), Math.max(...numbers)];
  const step = (SPARK.width - 2) / Math.max(1, values.length - 1);
  let isDown = false;
  let path = "";
  values.forEach((value, i) => {
    if (typeof value !== "number") return void (isDown = false);
    const y = 2 + (1 - (value - low) / (high - low || 1)) * (SPARK.height - 4);
    path += `${isDown ? "L" : "M"}${(1 + i * step).toFixed(1)} ${y.toFixed(1)}`;
    isDown = true;
  });
  return path;
}
