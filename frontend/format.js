// Numbers, ages and units as text.

/** @typedef {import("./types.js").WireNumber} WireNumber */

const whole = new Intl.NumberFormat("en");
const amount = new Intl.NumberFormat("en", { maximumSignificantDigits: 7 });

/** @type {Record<string, string>} */
const UNITS = { items: "item", elements: "element", tokens: "token", class_weight: "class weight", mixed: "unit" };

/**
 * @param {number} count
 * @returns {string}
 */
export function formatCount(count) {
  return whole.format(count);
}

/**
 * An amount that need not be whole: a sum of weights.
 * @param {number} value
 * @returns {string}
 */
export function formatAmount(value) {
  return amount.format(value);
}

/**
 * A count with its noun.
 * @param {number} count
 * @param {string} noun
 * @param {string} [plural]
 * @returns {string}
 */
export function formatCounted(count, noun, plural = `${noun}s`) {
  return `${formatCount(count)} ${count === 1 ? noun : plural}`;
}

/**
 * A size as one says it.
 * @param {number} bytes
 * @returns {string}
 */
export function formatBytes(bytes) {
  const power = bytes < 1000 ? 0 : Math.min(4, Math.floor(Math.log10(bytes) / 3));
  const value = bytes / 1000 ** power;
  return `${value.toLocaleString("en", { maximumSignificantDigits: 3 })} ${["B", "kB", "MB", "GB", "TB"][power]}`;
}

/**
 * A loss for a table or a list: four decimals, fewer digits where the number is large or tiny.
 * @param {WireNumber|undefined} value
 * @returns {string}
 */
export function formatLoss(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "string") return formatNonfinite(value);
  const size = Math.abs(value);
  if (value !== 0 && (size < 0.001 || size >= 1e7)) return minus(value.toExponential(3));
  if (size >= 1000) return minus(value.toLocaleString("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 }));
  return minus(value.toFixed(4));
}

/**
 * A loss for reading exactly: up to seven significant digits, as many as a float32 holds.
 * @param {WireNumber|undefined} value
 * @returns {string}
 */
export function formatExact(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "string") return formatNonfinite(value);
  return minus(String(Number(value.toPrecision(7))));
}

/** @param {string} number  the sign as wide as a digit */
function minus(number) {
  return number.replaceAll("-", "−");
}

/**
 * @param {string} value
 * @returns {string}
 */
export function formatNonfinite(value) {
  return value.replace("-Infinity", "−∞").replace("Infinity", "∞");
}

/**
 * How long ago, in one unit.
 * @param {number} seconds
 * @returns {string}
 */
export function formatAge(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 2 * 86_400) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86_400)} d`;
}

/**
 * A span of time that may be a fraction of a second.
 * @param {number} seconds
 * @returns {string}
 */
export function formatInterval(seconds) {
  if (seconds >= 10) return formatAge(seconds);
  return seconds < 0.001 ? "under 1 ms" : seconds < 0.1 ? `${Math.round(seconds * 1000)} ms` : `${Number(seconds.toPrecision(2))} s`;
}

/**
 * The unit that a per-item value is for: one for all curves, else "unit".
 * @param {string[]} weightUnits
 * @returns {string}
 */
export function unitOf(weightUnits) {
  const kinds = new Set(weightUnits);
  if (kinds.size > 1) return "unit";
  const [only] = kinds;
  return UNITS[only ?? "items"] ?? "unit";
}
