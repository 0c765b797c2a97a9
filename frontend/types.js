// The shapes that the service answers with, and the page's own state; types only, no code.

/** @typedef {"raw_sum"|"normalized_sum"|"batch_mean"|"step_objective"|"per_item"} ViewName */
/** @typedef {"epoch"|"batch"|"step"|"items"|"time"} XAxis */
/** @typedef {"overlay"|"side"|"difference"} Layout */
/** @typedef {"batch"|"running"} Mode */
/** @typedef {"system"|"light"|"dark"} Theme */
/** @typedef {"running"|"stalled"|"lost"|"finished"|"failed"|"killed"} RunState */

/**
 * A number as the wire carries it; a non-finite one is a string.
 * @typedef {number|"NaN"|"Infinity"|"-Infinity"|null} WireNumber
 */

/**
 * What else is known of a series' loss; every key may be missing.
 * @typedef {object} Traits
 * @prop {"mean"|"mean_weighted"|"sum"|"non_linear"|"batch_coupled"|"constant"|"not_probed"|null} [finding]
 * @prop {string|null} [dtype]
 * @prop {number|null} [dataset_items]      what an epoch should hold, all ranks together
 * @prop {number|null} [divided_by]         before it was sent backward
 * @prop {string|null} [broadcast]          a sentence
 * @prop {boolean|null} [from_running]      recovered from a framework's float32 running mean
 */

/**
 * What a series' numbers stand for, and how that is known.
 * @typedef {object} Meaning
 * @prop {string} [reduction]
 * @prop {string} weight_unit
 * @prop {string} [weight_source]
 * @prop {Traits} [traits]
 */

/**
 * One run as `GET /runs` lists it.
 * @typedef {object} Run
 * @prop {string} run
 * @prop {string} project
 * @prop {string} name
 * @prop {RunState} state                  when the list was answered
 * @prop {number|null} state_holds_s       for how long it holds if nothing more is heard; null: for good
 * @prop {Record<string, number>} ranks    how many ranks of its newest attempt are in which state
 * @prop {number} created_unix_s
 * @prop {number|null} last_record_age_s   when the list was answered
 * @prop {number} last_seen_age_s          since its last sign of life
 * @prop {number|null} usual_interval_s    between its records
 * @prop {number} records
 * @prop {string[]} series
 * @prop {number|null} batch_size
 * @prop {number|null} epoch               the last one seen
 * @prop {WireNumber} per_item
 * @prop {string} weight_unit
 * @prop {string} [weight_source]
 * @prop {WireNumber[]} spark
 * @prop {boolean} [damaged]               its records can't be read; all that they would tell is left away
 * @prop {string[]} tags
 * @prop {string|null} [colour]            #rrggbb, given by somebody; else the palette's
 * @prop {number|null} [archived_unix_s]
 * @prop {number} [listedAt]               ours: Date.now() of the answer, ms
 */

/** @typedef {{runs: Run[], total: number, archived: number}} RunsAnswer  archived: how many there are in all */
/** @typedef {{records: number, bytes: number}} Stored  bytes: about */
/** @typedef {{gaps: number, dropped: Record<string, number>, left_out?: Record<string, number>, reasons?: Record<string, string>}} Counts */
/** @typedef {{frameworks?: Record<string, string>}} Environment */
/** @typedef {{attempt: number, records: number, hidden: number}} Attempt */
/** @typedef {Omit<Run, "series"> & {series: (Meaning & {series: string})[], counts: Counts, attempts?: Attempt[], environment?: Environment|null, notes?: string, stored?: Stored}} RunDetail */

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
 * @prop {string} weight_source
 * @prop {string} reduction
 * @prop {Traits} [traits]
 * @prop {number} [ranks]                   that took part in the newest epoch
 * @prop {WireNumber[]|null} [rank_low]     x = epoch only: the least per item of its ranks
 * @prop {WireNumber[]|null} [rank_high]
 * @prop {number|null} batch_size
 * @prop {boolean} declared
 * @prop {boolean[]} [complete]             x = epoch only
 * @prop {(number|null)[]} [items]          x = epoch only: items seen in training so far
 * @prop {Record<string, {low: WireNumber[], high: WireNumber[]}>|null} [bands]  x = epoch only, where a point is several epochs: the least and the greatest of each view
 * @prop {number[]|null} [epochs]           x = epoch only: how many a point is
 * @prop {number[]} [pass_no]               x = epoch only
 * @prop {Record<string, WireNumber[]|null>|null} [differences]  against a baseline: how far each view lies above it
 * @prop {number|null} from_x               of a follower's answer: what the page has from there on is replaced; null: all of it
 * @prop {AttemptMark[]} [attempts]         of training: where each attempt but the first begins
 */

/**
 * @typedef {object} AttemptMark
 * @prop {number} attempt                   from 1
 * @prop {number|null} x
 * @prop {number|null} epoch
 * @prop {number} batch
 * @prop {boolean} is_gap                   records before it are missing
 * @prop {boolean} is_known                 the attempt said where it goes on
 */

/** @typedef {Curve & {attempt: number, from_epoch: number|null, from_batch: number}} HiddenCurve */

/**
 * @typedef {object} Warning
 * @prop {string} code
 * @prop {string[]} views                   empty: every view
 * @prop {string[]} [axes]                  empty or missing: every axis
 * @prop {string[]} runs
 * @prop {string} message
 * @prop {{view?: ViewName|Mode, x?: XAxis, layout?: Layout}|null} [suggest]
 */

/** @typedef {{cursor: string, x: string, reset: boolean, curves: Curve[], hidden?: HiddenCurve[], warnings: Warning[]}} CurvesAnswer */

/** @typedef {{rank: number, per_item: WireNumber, batch_mean: WireNumber, batches: number, items: number, weight: number}} RankRow */

/**
 * @typedef {object} EpochRow
 * @prop {number|null} epoch
 * @prop {string} [reduction]               an epoch that mixes reductions has none of the series'
 * @prop {number} batches_seen
 * @prop {number} items_seen
 * @prop {number|null} batch_size
 * @prop {number|null} last_batch_size
 * @prop {WireNumber} raw_sum
 * @prop {WireNumber} normalized_sum
 * @prop {WireNumber} batch_mean
 * @prop {WireNumber} per_item
 * @prop {WireNumber} [step_objective]
 * @prop {number} [weight]
 * @prop {number} nonfinite
 * @prop {boolean} complete
 * @prop {number|null} [accumulation]       batches a step
 * @prop {RankRow[]} [ranks]                none for one rank
 * @prop {number|null} [coverage]
 * @prop {number|null} [resolution]         between neighbouring values of a 16-bit loss
 */

/** @typedef {Meaning & {run: string, series: string, epochs: EpochRow[]}} EpochsAnswer */

/** @typedef {{view: string, label: string, value: WireNumber, formula: string, worked: string|null, meaning: string}} ExplainedView */
/** @typedef {{code: string, view: string|null, size: WireNumber, message: string}} Artefact */

/**
 * What another tool would have printed for the same epoch.
 * @typedef {object} Printed
 * @prop {string} tool
 * @prop {string|null} versions
 * @prop {string} what
 * @prop {WireNumber} [value]
 * @prop {WireNumber[]} [values]
 * @prop {string} [formula]
 * @prop {string} reason
 * @prop {boolean} is_yours
 */

/**
 * @typedef {object} ExplainedParts
 * @prop {string} label                     such as "per token, exact"
 * @prop {number|null} epoch
 * @prop {number} batches
 * @prop {number} items
 * @prop {number} empty
 * @prop {number|null} steps
 * @prop {WireNumber} rank_spread
 * @prop {WireNumber} std_error
 * @prop {WireNumber} std_error_detrended
 * @prop {ExplainedView[]} views
 * @prop {Artefact[]} artefacts
 * @prop {Printed[]} printed
 * @prop {string[]} notes
 */

/** @typedef {Meaning & EpochRow & ExplainedParts & {run: string, name: string, series: string}} Explanation */

/**
 * A number that somebody asks about.
 * @typedef {object} Why
 * @prop {string} run
 * @prop {string} series
 * @prop {number|null} epoch                null: the last complete one, whichever that is
 * @prop {string|null} field                of the values table; null: the view in force
 */

/** @typedef {{state: "connecting"|"live"|"lost"|"refused", sinceMs: number}} Connection */

/** @typedef {{type: "change"|"runs"|"reset", run?: string}} StreamEvent */

/**
 * Everything that the views draw from; replaced, never changed in place.
 * @typedef {object} State
 * @prop {Run[]|null} runs                  as last listed, newest first; null before the first answer
 * @prop {number} total                     runs that the service holds, of the kind that is listed
 * @prop {boolean} archived                 whether the archived ones are listed, instead of the others
 * @prop {number} archivedTotal             how many are archived
 * @prop {Run[]} found                      the service's answer to a search, when it holds more than it listed
 * @prop {Record<string, Run>} known        every run met so far
 * @prop {string} search
 * @prop {string[]} selected
 * @prop {ViewName} view
 * @prop {XAxis|null} x                     null: the axis that fits the runs
 * @prop {Layout|null} layout               null: the layout that fits the runs
 * @prop {Mode} mode
 * @prop {number|null} smooth               half-life of the batch chart's smooth curve, in items
 * @prop {string|null} loss                 the part of a series' name after its split; null: the first
 * @prop {boolean} hidden                   whether what later attempts hide is drawn too
 * @prop {Theme} theme
 * @prop {boolean} isDark                   what the theme comes to
 * @prop {Connection} connection
 * @prop {string|null} fault                what the last refused question said
 * @prop {CurvesAnswer|null} epochCurves
 * @prop {CurvesAnswer|null} epochDetail  of the epochs that the epoch chart is zoomed to, where it is too coarse for them
 * @prop {[number, number]|null} epochZoom  on the epoch chart's x axis
 * @prop {CurvesAnswer|null} batchCurves
 * @prop {[number, number]|null} batchZoom  on the batch chart's x axis
 * @prop {Record<string, EpochsAnswer>} epochs   by run and series, see `epochsKey`
 * @prop {Record<string, RunDetail>} details
 * @prop {Why|null} why
 * @prop {{key: string, answer: Explanation}|null} explained   see `keyWhy`
 * @prop {{key: string, message: string}|null} whyFault
 */

export {};
