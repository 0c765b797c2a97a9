// The shapes that the service answers with, and the page's own state; types only, no code.

/** @typedef {"raw_sum"|"normalized_sum"|"batch_mean"|"per_item"} ViewName */
/** @typedef {"epoch"|"batch"|"items"|"time"} XAxis */
/** @typedef {"overlay"|"side"} Layout */
/** @typedef {"batch"|"running"} Mode */
/** @typedef {"system"|"light"|"dark"} Theme */

/**
 * A number as the wire carries it; a non-finite one is a string.
 * @typedef {number|"NaN"|"Infinity"|"-Infinity"|null} WireNumber
 */

/**
 * One run as `GET /runs` lists it.
 * @typedef {object} Run
 * @prop {string} run
 * @prop {string} project
 * @prop {string} name
 * @prop {"running"|"lost"|"finished"|"failed"} state
 * @prop {number} created_unix_s
 * @prop {number|null} last_record_age_s   when the list was answered
 * @prop {number} records
 * @prop {string[]} series
 * @prop {number|null} batch_size
 * @prop {number|null} epoch               the last one seen
 * @prop {WireNumber} per_item
 * @prop {string} weight_unit
 * @prop {WireNumber[]} spark
 * @prop {string[]} tags
 * @prop {number} [listedAt]               ours: Date.now() of the answer, ms
 */

/** @typedef {{runs: Run[], total: number}} RunsAnswer */
/** @typedef {{dropped: Record<string, number>}} Writer */
/** @typedef {Omit<Run, "series"> & {series: {series: string}[], writers: Writer[], counts: {gaps: number}}} RunDetail */

/** @typedef {{x: number, epoch: number|null, batch: number, loss: WireNumber}} NonfiniteEvent */

/**
 * One series of one run over an x axis, as columns of one length.
 * @typedef {object} Curve
 * @prop {string} run
 * @prop {string} name
 * @prop {string} series
 * @prop {number[]} x
 * @prop {Record<string, WireNumber[]|null>} views
 * @prop {WireNumber[]|null} low            least batch loss in the bucket
 * @prop {WireNumber[]|null} high
 * @prop {number[]} count                   records in the bucket
 * @prop {number[]} nonfinite
 * @prop {NonfiniteEvent[]} [events]
 * @prop {number} records
 * @prop {number} shown
 * @prop {(number|null)[]} epoch
 * @prop {number[]} batch
 * @prop {string} weight_unit
 * @prop {string} reduction
 * @prop {number|null} batch_size
 * @prop {boolean} declared
 * @prop {boolean[]} [complete]             x = epoch only
 * @prop {(number|null)[]} [items]          x = epoch only: items seen in training so far
 */

/**
 * @typedef {object} Warning
 * @prop {string} code
 * @prop {string[]} views                   empty: every view
 * @prop {string[]} runs
 * @prop {string} message
 * @prop {{view?: ViewName, x?: XAxis}|null} [suggest]
 */

/** @typedef {{cursor: string, x: string, curves: Curve[], warnings: Warning[]}} CurvesAnswer */

/**
 * @typedef {object} EpochRow
 * @prop {number|null} epoch
 * @prop {number} batches_seen
 * @prop {number} items_seen
 * @prop {number|null} batch_size
 * @prop {number|null} last_batch_size
 * @prop {WireNumber} raw_sum
 * @prop {WireNumber} normalized_sum
 * @prop {WireNumber} batch_mean
 * @prop {WireNumber} per_item
 * @prop {number} nonfinite
 * @prop {boolean} complete
 */

/** @typedef {{run: string, series: string, weight_unit: string, epochs: EpochRow[]}} EpochsAnswer */

/** @typedef {{state: "connecting"|"live"|"lost"|"refused", sinceMs: number}} Connection */

/** @typedef {{type: "change"|"runs"|"reset", run?: string}} StreamEvent */

/**
 * Everything that the views draw from; replaced, never changed in place.
 * @typedef {object} State
 * @prop {Run[]|null} runs                  as last listed, newest first; null before the first answer
 * @prop {number} total                     runs that the service holds
 * @prop {Run[]} found                      the service's answer to a search, when it holds more than it listed
 * @prop {Record<string, Run>} known        every run met so far
 * @prop {string} search
 * @prop {string[]} selected
 * @prop {ViewName} view
 * @prop {XAxis|null} x                     null: the axis that fits the runs
 * @prop {Layout} layout
 * @prop {Mode} mode
 * @prop {string|null} loss                 the part of a series' name after its split; null: the first
 * @prop {Theme} theme
 * @prop {boolean} isDark                   what the theme comes to
 * @prop {Connection} connection
 * @prop {string|null} fault                what the last refused question said
 * @prop {CurvesAnswer|null} epochCurves
 * @prop {CurvesAnswer|null} batchCurves
 * @prop {[number, number]|null} batchZoom  on the batch chart's x axis
 * @prop {Record<string, EpochsAnswer>} epochs   by run and series, see `epochsKey`
 * @prop {Record<string, RunDetail>} details
 */

export {};
