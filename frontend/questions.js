// Which questions a state asks of the service, as query strings: the same string, the same answer wanted.

import { axisInForce, epochsKey, lossInForce, lossName, selectedRuns } from "./views.js";

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
 * The batch curves' question. Epochs have no place on a batch's axis: it is then drawn over batches.
 * @param {State} state
 * @returns {string|null}
 */
export function questionBatches(state) {
  const query = baseQuery(state);
  if (!query) return null;
  query.set("x", batchAxis(state));
  query.set("points", BATCH_POINTS);
  if (state.batchZoom && batchAxis(state) !== "time") {
    const [from, to] = state.batchZoom;
    const margin = (to - from) / 2; // so that a small pan shows no empty edge
    query.set("from", String(Math.max(0, Math.floor(from - margin))));
    query.set("to", String(Math.max(0, Math.ceil(to + margin))));
  }
  return query.toString();
}

/**
 * @param {State} state
 * @returns {"batch"|"items"|"time"}
 */
export function batchAxis(state) {
  const axis = axisInForce(state);
  return axis === "epoch" ? "batch" : axis;
}

/**
 * @typedef {{run: string, series: string, key: string, stamp: string}} Stale
 */

/**
 * The epoch tables that are to be asked (again): those whose last complete epoch is another than
 * when asked last, or, before there is one, whose records are more.
 * @param {State} state
 * @param {Map<string, string>} stamps  by key
 * @returns {Stale[]}
 */
export function staleEpochs(state, stamps) {
  const curves = state.epochCurves?.curves ?? [];
  return curves.flatMap((curve) => {
    const key = epochsKey(curve.run, curve.series);
    const stamp = stampCurve(curve);
    return stamps.get(key) === stamp ? [] : [{ run: curve.run, series: curve.series, key, stamp }];
  });
}

/**
 * @param {Curve} curve
 * @returns {string}
 */
function stampCurve(curve) {
  const done = curve.complete?.lastIndexOf(true) ?? -1;
  if (done < 0) return `records ${curve.records}`;
  return `epoch ${curve.x[done]} ${curve.count.slice(0, done + 1).reduce((sum, n) => sum + n, 0)}`;
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
  return query;
}
