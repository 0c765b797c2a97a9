// Which colour and dash a run has: the same in every chart, at every visit.

const HUES = 8; // as many as stay apart for colour-blind readers; tokens.css holds them
const DASHES = 3; // after the hues, lines differ by dash
const KEPT_RUNS = 500;
const STORAGE_KEY = "lossboard.colours";
const OWN = /^#[0-9a-f]{6}$/;

/** @typedef {{hue: number, dash: number, own: string|null}} Look  hue 1…8, dash 0…2; `own` #rrggbb, which goes before the hue */

/** Dashes of a run's train and val line, by `Look.dash`; val is always the more broken one. */
export const TRAIN_DASHES = ["solid", "longdashdot", "longdash"];
export const VAL_DASHES = ["5px,4px", "5px,3px,1px,3px", "2px,3px"];

/**
 * @typedef {object} Colours
 * @prop {(run: string) => Look} look
 * @prop {(runs: string[]) => void} learn  gives runs not met before the next looks, in the order given
 */

/**
 * A look's colour as CSS has it.
 * @param {Look} look
 * @returns {string}
 */
export function cssColour({ hue, own }) {
  return own ?? `var(--run-${hue})`;
}

/**
 * A look's colour as the charts need it.
 * @param {Look} look
 * @param {string[]} hues  of the theme, each as rgb(…)
 * @returns {string|undefined}
 */
export function rgbColour({ hue, own }, hues) {
  if (own === null) return hues[hue - 1];
  const [red, green, blue] = [1, 3, 5].map((at) => Number.parseInt(own.slice(at, at + 2), 16));
  return `rgb(${red}, ${green}, ${blue})`;
}

/**
 * Hand out looks by order of first sight, so that neighbours in the list differ, and keep them in this browser.
 * @param {Storage} storage
 * @param {(run: string) => string|null|undefined} ownOf  the colour that somebody gave a run, #rrggbb
 * @returns {Colours}
 */
export function createColours(storage, ownOf) {
  const slots = readSlots(storage);

  /** @param {string} run */
  function slotOf(run) {
    let slot = slots.get(run);
    if (slot === undefined) {
      slot = (([...slots.values()].at(-1) ?? -1) + 1) % (HUES * DASHES);
      slots.set(run, slot);
    }
    return slot;
  }

  return {
    look(run) {
      const slot = slotOf(run);
      const own = ownOf(run);
      return { hue: (slot % HUES) + 1, dash: Math.floor(slot / HUES), own: own && OWN.test(own) ? own : null };
    },
    learn(runs) {
      const before = slots.size;
      for (const run of runs) slotOf(run);
      if (slots.size === before) return;
      writeSlots(storage, [...slots].slice(-KEPT_RUNS));
    },
  };
}

/**
 * @param {Storage} storage
 * @returns {Map<string, number>}
 */
function readSlots(storage) {
  try {
    return new Map(JSON.parse(storage.getItem(STORAGE_KEY) ?? "[]"));
  } catch {
    return new Map(); // an unreadable store: the runs get their looks anew
  }
}

/**
 * @param {Storage} storage
 * @param {[string, number][]} slots
 */
function writeSlots(storage, slots) {
  try {
    storage.setItem(STORAGE_KEY, JSON.stringify(slots));
  } catch {
    // a full or forbidden store: the looks hold for this visit
  }
}
