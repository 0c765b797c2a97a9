// The difference layout: each run's curves as far as they lie above those of the first one selected.

import { axisInForce, layoutInForce, selectedRuns } from "./views.js";

/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Run} Run */
/** @typedef {import("./types.js").Curve} Curve */

/**
 * The run that the others are held against; null where nothing is.
 * @param {State} state
 * @returns {Run|null}
 */
export function baselineOf(state) {
  const [first, ...others] = selectedRuns(state);
  const isAsked = layoutInForce(state) === "difference" && axisInForce(state) !== "time";
  return isAsked && first && others.length > 0 ? first : null;
}

/**
 * Draw the differences in the place of the values; of the baseline itself nothing is left.
 * @param {Curve[]} curves
 * @param {Run|null} baseline
 * @returns {Curve[]}
 */
export function showDifferences(curves, baseline) {
  if (!baseline) return curves;
  return curves.flatMap((curve) => {
    if (curve.run === baseline.run || !curve.differences) return [];
    return [{ ...curve, views: curve.differences, low: null, high: null, bands: null, rank_low: null, rank_high: null, nonfinite: curve.nonfinite.map(() => 0), events: [] }];
  });
}

/**
 * @param {string} title
 * @param {Run|null} baseline
 */
export function titleDifference(title, baseline) {
  return baseline ? `${title}, above ${baseline.name}` : title;
}
