"""The wire, version 1: names, limits and the one validator that client and service share.

Standard library only, since a training script imports it. What a number means is
not here but in the service's `domain/`.
"""

import hmac
import math
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

API_PREFIX: Final = "/api/v1"

REDUCTIONS: Final = ("mean", "sum", "sum_over_window", "unknown")
WEIGHT_UNITS: Final = ("items", "elements", "tokens", "class_weight")
WEIGHT_SOURCES: Final = ("exact", "probed", "declared", "assumed", "unknown")
FINDINGS: Final = tuple("mean mean_weighted sum non_linear batch_coupled constant not_probed".split())
DTYPES: Final = ("float64", "float32", "bfloat16", "float16")
SCRIPT_STATES: Final = ("finished", "failed")  # how a script ends its own run
END_STATES: Final = (*SCRIPT_STATES, "killed")  # killed: found dead, told by whoever takes over its journal
STATES: Final = ("running", *END_STATES)

MAX_POSITION: Final = 2**53 - 1  # batch, step, index: the integers that JavaScript holds exactly
MAX_SMALL: Final = 2**31 - 1  # epoch, batch_size, pass_no, call, rank: a 4-byte column
MAX_SERIES_NAME: Final = 200  # characters; the page shows about 30
MAX_SERIES: Final = 500  # of a run: a name made of a changing number is a mistake, and would fill the page
MAX_TRAIT: Final = 300  # characters: a sentence
MAX_TIME_UNIX_S: Final = 1e11  # the year 5138; a larger time was given in milliseconds

RUN_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
# Without control characters and lone surrogates: UTF-8, and so the wire, has none.
SERIES_NAME: Final = re.compile(r"[^\x00-\x1f\x7f/\ud800-\udfff]+(?:/[^\x00-\x1f\x7f/\ud800-\udfff]+)+")
NONFINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

ROW_KEYS: Final = frozenset(
    "epoch batch loss batch_size series split reduction weight divisor window_items "
    "step time rank attempt pass_no call".split()
)
COLUMN_KEYS: Final = (
    "epoch batch loss batch_size weight divisor window_items step time pass_no call index".split()
)
TRAITS: Final = frozenset(
    "finding dtype dataset_items divided_by broadcast parts parts_gap from_running".split()
)


class RecordError(ValueError):
    """A record that can't be taken; `field` names the offending key, the message says what to do."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class Record(NamedTuple):
    """One loss evaluation, checked.

    Units: loss in the loss's own unit; weight in the series' weight unit; time in unix
    seconds. `epoch` None means that nothing told an epoch. `weight` None means the batch
    size stands for it; `batch_size` None that the meaning is undeclared. `call` None lets
    the service number evaluations of the same batch.
    """

    series: str
    epoch: int | None
    batch: int
    loss: float
    batch_size: int | None
    weight: float | None = None
    divisor: float | None = None
    window_items: float | None = None
    step: int | None = None
    time: float | None = None
    pass_no: int = 0
    call: int | None = None
    rank: int = 0
    attempt: float = 0.0
    reduction: str | None = None


def read_row(row: object) -> Record:
    """Check one row as a person types it and make it a record.

    Raises: RecordError naming the key.
    """
    if not isinstance(row, Mapping):
        raise RecordError("", "must be an object like {epoch, batch, loss, batch_size}")
    for key in row:
        if key not in ROW_KEYS:
            raise RecordError(str(key)[:40], f"is not a key of a record; known: {_listed(ROW_KEYS)}")
    for key in ("epoch", "batch", "loss", "batch_size"):
        if key not in row:
            raise RecordError(key, "is missing")
    get = row.get
    reduction = get("reduction")
    if reduction is not None:
        check_choice("reduction", reduction, REDUCTIONS)
    record = Record(
        series=series_name(get("series", "loss"), get("split")),
        epoch=check_epoch(get("epoch")),
        batch=check_whole("batch", get("batch"), MAX_POSITION),
        loss=check_loss(get("loss")),
        batch_size=check_optional("batch_size", get("batch_size"), MAX_SMALL),
        weight=check_weight(get("weight")),
        divisor=check_positive("divisor", get("divisor")),
        window_items=check_positive("window_items", get("window_items")),
        step=check_optional("step", get("step"), MAX_POSITION),
        time=check_time(get("time")),
        pass_no=check_whole("pass_no", get("pass_no", 0), MAX_SMALL),
        call=check_optional("call", get("call"), MAX_SMALL),
        rank=check_whole("rank", get("rank", 0), MAX_SMALL),
        attempt=check_attempt(get("attempt", 0)),
        reduction=reduction,
    )
    check_together(record.loss, record.batch_size, reduction, record.window_items)
    return record


def check_together(
    loss: float, batch_size: int | None, reduction: str | None, window_items: float | None
) -> None:
    """Check what no single key can show.

    Raises: RecordError for a finite loss over no items, or a windowed sum without its window.
    """
    if batch_size == 0 and math.isfinite(loss):
        raise RecordError(
            "batch_size", "is 0 beside a finite loss; give the items of this batch (0 is legal for NaN)"
        )
    if reduction == "sum_over_window" and window_items is None:
        raise RecordError("window_items", "is missing; sum_over_window needs what the sum was divided by")


def series_name(series: object, split: object = None) -> str:
    """Make the full name split/series; a series with a slash names its split itself."""
    if not isinstance(series, str) or not isinstance(split, str | None):
        raise RecordError("series" if not isinstance(series, str) else "split", "must be text")
    if "/" in series and split is not None:
        raise RecordError("split", f"is given twice: {series[:40]!r} names its split before the slash")
    name = series if "/" in series else f"{split or 'train'}/{series}"
    return check_series_name(name)


def check_series_name(name: object, field: str = "series") -> str:
    """Return a full series name such as train/loss, or raise RecordError."""
    if not isinstance(name, str) or len(name) > MAX_SERIES_NAME or not SERIES_NAME.fullmatch(name):
        raise RecordError(field, f"must be named split/series, at most {MAX_SERIES_NAME} characters")
    return name


def check_run_id(run: object) -> str:
    """Return the run id, or raise RecordError."""
    if not isinstance(run, str) or not RUN_ID.fullmatch(run):
        raise RecordError("run", "must be 1 to 64 of the characters A–Z a–z 0–9 _ -")
    return run


def check_epoch(value: object) -> int | None:
    """Return an epoch, None where undeclared."""
    return check_optional("epoch", value, MAX_SMALL)


def check_whole(field: str, value: object, most: int) -> int:
    """Return a whole number from 0 to `most`."""
    if type(value) is not int:
        raise RecordError(field, f"must be a whole number, not {_shown(value)}")
    if not 0 <= value <= most:
        raise RecordError(field, f"must lie between 0 and {most}, not {_shown(value)}")
    return value


def check_optional(field: str, value: object, most: int) -> int | None:
    """Return a whole number from 0 to `most`, or None."""
    return None if value is None else check_whole(field, value, most)


def check_loss(value: object) -> float:
    """Return the loss as a float; NaN and ±Infinity are legal, as floats or as their names."""
    if type(value) is str and value in NONFINITE:
        return NONFINITE[value]
    return _number("loss", value, 'a number, "NaN", "Infinity" or "-Infinity"')


def check_weight(value: object) -> float | None:
    """Return a finite weight ≥ 0, or None; 0 means that nothing was measured."""
    if value is None:
        return None
    weight = _number("weight", value, "a number of at least 0")
    if not 0 <= weight < math.inf:
        raise RecordError("weight", f"must be finite and at least 0, not {_shown(value)}")
    return weight


def check_positive(field: str, value: object) -> float | None:
    """Return a finite number > 0, or None."""
    if value is None:
        return None
    number = _number(field, value, "a number above 0")
    if not 0 < number < math.inf:
        raise RecordError(field, f"must be finite and above 0, not {_shown(value)}")
    return number


def check_time(value: object) -> float | None:
    """Return a time in unix seconds, or None."""
    if value is None:
        return None
    time = _number("time", value, "unix seconds")
    if not 0 <= time <= MAX_TIME_UNIX_S:
        raise RecordError("time", f"must be unix seconds, not {_shown(value)}")
    return time


def check_attempt(value: object) -> float:
    """Return the number that identifies an attempt: its start in unix seconds, or 0, 1, …"""
    attempt = _number("attempt", value, "the attempt's start in unix seconds")
    if not 0 <= attempt <= MAX_TIME_UNIX_S:
        raise RecordError("attempt", f"must be unix seconds or a small number, not {_shown(value)}")
    return attempt


def check_choice(field: str, value: object, choices: tuple[str, ...]) -> str:
    """Return one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise RecordError(field, f"is {_shown(value)}; it must be one of {_listed(choices)}")
    return value


def check_traits(traits: object) -> dict[str, Any]:
    """Return what else is known of a series' loss, checked; None takes an entry back.

    Raises: RecordError naming the entry.
    """
    if not isinstance(traits, Mapping):
        raise RecordError("traits", "must be an object")
    return {key: _check_trait(key, value) for key, value in traits.items()}


def _check_trait(key: object, value: Any) -> Any:
    field = f"traits.{str(key)[:40]}"
    if key not in TRAITS:
        raise RecordError(field, f"is not known; known: {_listed(TRAITS)}")
    if value is None:
        return None
    if key in ("finding", "dtype"):
        return check_choice(field, value, FINDINGS if key == "finding" else DTYPES)
    if key == "dataset_items":
        return check_whole(field, value, MAX_POSITION)
    if key == "from_running" and type(value) is not bool:
        raise RecordError(field, "must be true or false")
    if key == "broadcast" and (not isinstance(value, str) or len(value) > MAX_TRAIT):
        raise RecordError(field, f"must be text of at most {MAX_TRAIT} characters")
    if key in ("from_running", "broadcast"):
        return value
    if key == "parts":
        if not isinstance(value, Mapping) or len(value) > MAX_SERIES:
            raise RecordError(field, "must be an object of series names and factors")
        factors = {check_series_name(name, field): _number(field, x, "a number") for name, x in value.items()}
        if not all(map(math.isfinite, factors.values())):
            raise RecordError(field, "must be finite numbers")
        return factors
    return check_positive(field, value)


def encode_number(value: float | None) -> float | str | None:
    """Return what JSON can carry: the number, or the name of a non-finite one."""
    if value is None or math.isfinite(value):
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def prove(token: str, nonce: str) -> str:
    """Answer a nonce with what only a holder of the token can say: HMAC-SHA256, in hex."""
    return hmac.new(token.encode(), b"healthz:" + nonce.encode(), "sha256").hexdigest()


def _number(field: str, value: object, what: str) -> float:
    if type(value) is float:
        return value
    if type(value) is not int:
        raise RecordError(field, f"must be {what}, not {_shown(value)}")
    try:
        return float(value)
    except OverflowError:
        raise RecordError(field, f"is too large for a double; it must be {what}") from None


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, int) and abs(value) > 10**30:
        return "a number beyond 10^30"
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "…"


def _listed(names: Any) -> str:
    return ", ".join(sorted(names) if isinstance(names, frozenset) else names)
