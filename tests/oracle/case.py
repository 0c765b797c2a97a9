"""What a worked case is: records, and the numbers that anybody can check by hand."""

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

EXACT = 1e-12  # what doubles and another order of adding may cost


class Case(NamedTuple):
    """Records as the wire carries them, and what they must read as.

    A record may also say `closure_eval` (its number inside an optimizer's closure) or
    `recompute`: a client never sends those after the first (`sent`). A key of `expect` is a
    view or a count of the epoch; `val.per_item` is of a split, `epoch1.per_item` of an epoch;
    one that names a series of the records (`a_loss`) is that series' per item; the rest is
    what a framework prints. Values are exact fractions, lists of them, or None.
    """

    name: str
    records: list[dict[str, Any]]
    expect: dict[str, Any]
    tolerance: float = EXACT
    traits: dict[str, Any] = {}  # noqa: RUF012 (never changed)


def case(
    name: str,
    records: list[dict[str, Any]],
    *,
    tolerance: float = EXACT,
    traits: dict[str, Any] | None = None,
    **expect: Any,
) -> Case:
    """Make a case; expectations are written as "11/3", as whole numbers, or as words with a number each."""
    return Case(name, records, {key: _exact(value) for key, value in expect.items()}, tolerance, traits or {})


def batches(losses: Iterable[Any], sizes: Sequence[int], **more: Any) -> list[dict[str, Any]]:
    """Make the records of an epoch; `more` holds one value for all, or a list with one for each."""
    columns = {key: value if isinstance(value, list) else [value] * len(sizes) for key, value in more.items()}
    return [
        {"epoch": 0, "batch": batch, "loss": loss, "batch_size": size}
        | {key: column[batch] for key, column in columns.items()}
        for batch, (loss, size) in enumerate(zip(losses, sizes, strict=True))
    ]


def sent(case: Case) -> list[dict[str, Any]]:
    """Return the records that a client sends: first evaluations only, with nothing but the wire's keys."""
    own = ("closure_eval", "recompute")
    return [
        {key: value for key, value in record.items() if key not in own}
        for record in case.records
        if not record.get("closure_eval") and not record.get("recompute")
    ]


def is_close(got: Any, want: Any, tolerance: float) -> bool:
    """Tell whether |got − want| ≤ tolerance × max(1, |want|), for lists each; None is only None."""
    if isinstance(want, list):
        return (
            isinstance(got, list)
            and len(got) == len(want)
            and all(is_close(g, w, tolerance) for g, w in zip(got, want, strict=True))
        )
    if want is None or got is None:
        return got is want
    return math.isfinite(got) and abs(Fraction(got) - want) <= tolerance * max(1, abs(want))


def _exact(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, str) and " " in value:
        return [_exact(None if word == "-" else word) for word in value.split()]
    return Fraction(value)
