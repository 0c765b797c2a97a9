// Following curves: what is new of an answer, joined to what the page has of it.

/** @typedef {import("./types.js").Curve} Curve */
/** @typedef {import("./types.js").CurvesAnswer} CurvesAnswer */

const MAX_EVENTS = 200; // of a curve, as the service tells them: the newest
const COLUMNS = /** @type {const} */ ([
  "x", "low", "high", "count", "nonfinite", "epoch", "batch", "rank_low", "rank_high", "complete", "items", "epochs", "pass_no",
]);

/**
 * The question that asks only for what came after an answer.
 * @param {string} question
 * @param {CurvesAnswer|null} known  the last answer to the same question
 * @returns {URLSearchParams}
 */
export function askSince(question, known) {
  const query = new URLSearchParams(question);
  if (known) query.set("since", known.cursor);
  return query;
}

/**
 * Join what is told to what is known; curves that are not told are as they were.
 * @param {CurvesAnswer|null} known
 * @param {CurvesAnswer} told
 * @returns {CurvesAnswer}
 */
export function joinAnswer(known, told) {
  if (!known || told.reset) return told;
  const curves = new Map(known.curves.map((curve) => [nameOf(curve), curve]));
  for (const curve of told.curves) curves.set(nameOf(curve), joinCurve(curves.get(nameOf(curve)), curve));
  return { ...told, curves: [...curves.values()] };
}

/** @param {Curve} curve */
function nameOf({ run, series }) {
  return JSON.stringify([run, series]);
}

/**
 * Replace everything from the told curve's `from_x` on.
 * @param {Curve|undefined} known
 * @param {Curve} told
 * @returns {Curve}
 */
function joinCurve(known, told) {
  const from = told.from_x;
  if (!known || from === null) return { ...known, ...told };
  const first = known.x.findIndex((x) => x !== null && x >= from);
  const keep = first < 0 ? known.x.length : first;
  /** @param {typeof COLUMNS[number]} name @returns {[unknown[]|null|undefined, unknown[]|null|undefined]} */
  const both = (name) => [known[name], told[name]];
  const columns = COLUMNS.map((name) => [name, joinColumn(...both(name), keep)]);
  const views = Object.keys(told.views).map((name) => [name, joinColumn(known.views[name], told.views[name], keep)]);
  const x = joinColumn(known.x, told.x, keep) ?? [];
  const events = [...(known.events ?? []).filter((event) => event.x < from), ...(told.events ?? [])].slice(-MAX_EVENTS);
  const joined = { ...known, ...told, ...Object.fromEntries(columns), views: Object.fromEntries(views), events, shown: x.length };
  return { ...joined, bands: joinBands(known.bands, told.bands, keep) };
}

/**
 * @template T
 * @param {T[]|null|undefined} known
 * @param {T[]|null|undefined} told
 * @param {number} keep
 * @returns {(T|null)[]|null|undefined}
 */
function joinColumn(known, told, keep) {
  if (!told) return told;
  return [...(known?.slice(0, keep) ?? Array(keep).fill(null)), ...told];
}

/**
 * @param {Curve["bands"]} known
 * @param {Curve["bands"]} told
 * @param {number} keep
 * @returns {Curve["bands"]}
 */
function joinBands(known, told, keep) {
  if (!told) return told;
  const joined = Object.entries(told).map(([view, band]) => {
    const low = joinColumn(known?.[view]?.low, band.low, keep) ?? [];
    return [view, { low, high: joinColumn(known?.[view]?.high, band.high, keep) ?? [] }];
  });
  return Object.fromEntries(joined);
}
