// What a run's state is called and means, its mark, and whether the page may still claim it.

import { makeSvg } from "./dom.js";
import { formatAge, formatCounted, formatInterval } from "./format.js";

/** @typedef {import("./types.js").Run} Run */
/** @typedef {import("./types.js").RunState} RunState */
/** @typedef {import("./types.js").Connection} Connection */

/**
 * @typedef {object} Told
 * @prop {string} word       such as "running", or "was running" where nobody knows any more
 * @prop {string} short      the age that matters
 * @prop {string} sentence   what that means, with its ages
 * @prop {boolean} isStale
 */

export const LOST_GRACE_MS = 1500; // a reconnect quicker than this is nobody's business
const ANSWER_GRACE_S = 15; // the slowest answer to the question that follows the end of a claim

/** @type {RunState[]} */
const TIMED = ["running", "stalled", "lost"];

/** Told apart by their shape; colour only adds to it. @type {Record<RunState, string>} */
const MARKS = {
  running: "M5 1.5a3.5 3.5 0 1 0 .01 0z",
  stalled: "M2 1.5h2v7H2zM6 1.5h2v7H6z",
  lost: "M5 .8a4.2 4.2 0 1 0 .01 0zM5 2.4a2.6 2.6 0 1 1-.01 0z",
  finished: "M.6 5.4l1.2-1.2 2 2L8.2 1.8 9.4 3 3.8 8.6z",
  failed: "M1 2.2L2.2 1 5 3.8 7.8 1 9 2.2 6.2 5 9 7.8 7.8 9 5 6.2 2.2 9 1 7.8 3.8 5z",
  killed: "M1.5 1.5h7v7h-7z",
};

/**
 * Make a mark that `drawMark` fills.
 * @returns {SVGElement}
 */
export function makeMark() {
  const mark = makeSvg("svg", { viewBox: "0 0 10 10", width: 10, height: 10, class: "mark", "aria-hidden": "true" });
  mark.append(makeSvg("path", { "fill-rule": "evenodd" }));
  return mark;
}

/**
 * @param {SVGElement} mark
 * @param {RunState} state
 */
export function drawMark(mark, state) {
  mark.firstElementChild?.setAttribute("d", MARKS[state]);
}

/**
 * Seconds since something, by this page's clock only: the service's may differ.
 * @param {Run} run
 * @param {number} age  when the run was told
 */
export function since(run, age) {
  return age + Math.max(0, Date.now() - (run.listedAt ?? Date.now())) / 1000;
}

/**
 * Say a run's state. What time alone changes is claimed only as long as the service said that it
 * holds, and only with a connection to it.
 * @param {Run} run
 * @param {Connection} connection
 * @returns {Told}
 */
export function tellState(run, connection) {
  const isStale = TIMED.includes(run.state) && (isAway(connection) || hasExpired(run));
  const record = run.last_record_age_s === null ? null : formatAge(since(run, run.last_record_age_s));
  if (isStale) {
    const heard = `${capital(run.state)} when last heard of, ${formatAge(since(run, 0))} ago.`;
    return { word: `was ${run.state}`, short: `${formatAge(since(run, 0))} ago`, sentence: `${heard} ${record === null ? "No record was known." : `Its last known record is ${record} old.`}`, isStale };
  }
  const ranks = tellRanks(run);
  const short = shorten(run, record);
  const sentence = explain(run, record);
  return { word: run.state, short: ranks ? `${short}, ${ranks}` : short, sentence: ranks ? `${sentence} ${capital(ranks)}.` : sentence, isStale };
}

/**
 * @param {Run} run
 * @param {string|null} record  the age of its last one
 */
function explain(run, record) {
  const last = record === null ? "No record came." : `Last record ${record} ago.`;
  const silent = formatAge(since(run, run.last_seen_age_s));
  switch (run.state) {
    case "running":
      return record === null ? `No record yet, ${formatAge(Date.now() / 1000 - run.created_unix_s)} after it was made.` : last;
    case "stalled":
      return `It lives, but no record for ${record}; usual interval ${formatInterval(run.usual_interval_s ?? 0)}.`;
    case "lost":
      return `No sign of life for ${silent}: its process, machine or network is gone or asleep. ${last}`;
    case "finished":
      return last;
    case "failed":
      return `It ended with an error. ${last}`;
    case "killed":
      return `Its process is gone without having said goodbye. ${last}`;
  }
}

/**
 * @param {Run} run
 * @param {string|null} record  the age of its last one
 */
function shorten(run, record) {
  if (run.state === "lost") return `no sign of life for ${formatAge(since(run, run.last_seen_age_s))}`;
  if (record === null) return "no records";
  return run.state === "stalled" ? `no record for ${record}` : `last record ${record} ago`;
}

/** @param {Run} run */
function tellRanks({ state, ranks }) {
  if (state !== "running" && state !== "stalled") return "";
  const total = Object.values(ranks).reduce((sum, count) => sum + count, 0);
  const words = { killed: "killed", failed: "failed", lost: "without a sign of life", finished: "finished" };
  const told = Object.entries(words).flatMap(([key, word]) => (ranks[key] ? [`${ranks[key]} ${word}`] : []));
  return told.length > 0 ? `of ${formatCounted(total, "rank")} ${told.join(", ")}` : "";
}

/** @param {Connection} connection */
function isAway(connection) {
  return connection.state !== "live" && Date.now() - connection.sinceMs >= LOST_GRACE_MS;
}

/** @param {Run} run */
function hasExpired(run) {
  return run.state_holds_s !== null && since(run, 0) > run.state_holds_s + ANSWER_GRACE_S;
}

/** @param {string} word */
function capital(word) {
  return word.charAt(0).toUpperCase() + word.slice(1);
}
