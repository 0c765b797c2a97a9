// Which questions a state asks of the service, as query strings: the same string, the same answer wanted.

import { baselineOf } from "./difference.js";
import { EVALUATED, axisInForce, batchAxis, epochsKey, lossInForce, lossName, selectedRuns, shownEpoch, splitOf } from "./views.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Curve} Curve */

const BATCH_POINTS = "2000"; // about two for each pixel column of the chart

/**
 * The epoch curves' question; null where nothing can be asked.
 * @param {State} state
 * @returns {string|null}
 */
export function questionEpochs(state) {
  const query = baseQuery(state);
  query?.set("x", "epoch");
  return query?.toString() ?? null;
}

/**
 * The question for the epochs that the epoch chart is zoomed to; null where it has them one by one.
 * @param {State} state
 * @returns {string|null}
 */
export function questionEpochDetail(state) {
  const isThinned = state.epochCurves?.curves.some((curve) => curve.epochs);
  if (!state.epochZoom || !isThinned || axisInForce(state) !== "epoch") return null;
  const query = baseQuery(state);
  query?.set("x", "epoch");
  if (query) setRange(query, state.epochZoom);
  return query?.toString() ?? null;
}

/**
 * The batch curves' question.
 * @param {State} state
 * @returns {string|null}
 */
export function questionBatches(state) {
  const query = baseQuery(state);
  if (!query) return null;
  query.set("x", batchAxis(state));
  query.set("points", BATCH_POINTS);
  if (state.smooth !== null && state.mode === "batch") query.set("smooth", String(state.smooth));
  if (state.batchZoom && batchAxis(state) !== "time") setRange(query, state.batchZoom);
  return query.toString();
}

/**
 * @param {URLSearchParams} query
 * @param {[number, number]} zoom
 */
function setRange(query, [from, to]) {
  const margin = (to - from) / 2; // so that a small pan shows no empty edge
  query.set("from", String(Math.max(0, Math.floor(from - margin))));
  query.set("to", String(Math.max(0, Math.ceil(to + margin))));
}

/**
 * @typedef {{run: string, series: string, key: string, stamp: string}} Stale
 */

/**
 * The epoch tables that are to be asked (again): those whose last complete epoch is another than
 * when asked last, or, before there is one, whose records are more. An evaluation is no epoch of
 * training: each record of one is new, and it may be of a loss that is not on the charts.
 * @param {State} state
 * @param {Map<string, string>} stamps  by key
 * @returns {Stale[]}
 */
export function staleEpochs(state, stamps) {
  const curves = state.epochCurves?.curves ?? [];
  const drawn = curves.map((curve) => ({ run: curve.run, series: curve.series, stamp: stampCurve(curve) }));
  const evaluated = selectedRuns(state).flatMap((run) => {
    const own = run.series.filter((series) => splitOf(series) === EVALUATED || (state.why?.run === run.run && state.why.series === series));
    const others = own.filter((series) => !curves.some((curve) => curve.run === run.run && curve.series === series));
    return others.map((series) => ({ run: run.run, series, stamp: `records ${run.records}` }));
  });
  return [...drawn, ...evaluated].flatMap((asked) => {
    const key = epochsKey(asked.run, asked.series);
    return stamps.get(key) === asked.stamp ? [] : [{ ...asked, key }];
  });
}

/**
 * @param {Curve} curve
 * @returns {string}
 */
function stampCurve(curve) {
  const done = splitOf(curve.series) === EVALUATED ? -1 : (curve.complete?.lastIndexOf(true) ?? -1);
  if (done < 0) return `records ${curve.records}`;
  return `epoch ${curve.x[done]} ${curve.count.slice(0, done + 1).reduce((sum, n) => sum + n, 0)}`;
}

/**
 * Which epoch of which series is asked about; null where nobody asks, or it is not known yet.
 * @param {State} state
 * @returns {{run: string, series: string, epoch: number|null}|null}
 */
export function whyInForce({ why, selected, epochs }) {
  if (!why || !selected.includes(why.run)) return null;
  if (why.epoch !== null) return why;
  const row = shownEpoch(epochs[epochsKey(why.run, why.series)]);
  return row ? { ...why, epoch: row.epoch } : null;
}

/**
 * @param {State} state
 * @returns {string|null} the same for the same epoch of the same series
 */
export function keyWhy(state) {
  const asked = whyInForce(state);
  return asked && `${asked.run} ${asked.epoch ?? "-"} ${asked.series}`;
}

/**
 * How many records the epoch asked about has: with more of them its answer is another.
 * @param {State} state
 * @returns {number|null}
 */
export function sizeWhy(state) {
  const asked = whyInForce(state);
  const curve = state.epochCurves?.curves.find(({ run, series }) => run === asked?.run && series === asked.series);
  if (!asked || !curve) return null;
  return curve.count.reduce((sum, count, i) => (curve.epoch[i] === asked.epoch ? sum + count : sum), 0);
}

/**
 * @param {State} state
 * @returns {URLSearchParams|null}
 */
function baseQuery(state) {
  const runs = selectedRuns(state);
  const loss = lossInForce(state);
  if (runs.length === 0 || loss === null) return null;
  const series = new Set(runs.flatMap((run) => run.series).filter((name) => lossName(name) === loss));
  const query = new URLSearchParams();
  for (const run of runs) query.append("run", run.run);
  for (const name of [...series].sort()) query.append("series", name);
  if (state.hidden) query.set("hidden", "show");
  const baseline = baselineOf(state);
  if (baseline) query.set("baseline", baseline.run);
  return query;
}
