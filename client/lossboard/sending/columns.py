"""Records as the columns of a request: what the journal keeps in rows travels by key."""

from collections.abc import Sequence
from math import isfinite
from typing import Any, NamedTuple

from lossboard import wire
from lossboard.journal.slots import UNDECLARED, Stored


class Group(NamedTuple):
    """The records of one series in a request, and their indices in the journal."""

    name: str
    indices: list[int]
    records: list[Stored]


def make_columns(group: Group) -> dict[str, Sequence[Any]]:
    """Make the columns of a group; a column in which every value is what the wire takes it for is left out.

    Column by column, since a request of 5,000 records is made beside a training that waits for
    the interpreter: it takes half the time of reading each value of each record by its name.
    """
    _, epochs, batches, losses, sizes, weights, times, passes, steps, calls, divisors, windows = zip(
        *group.records, strict=True
    )
    columns: dict[str, Sequence[Any]] = {
        "index": group.indices,
        "epoch": _without(epochs, UNDECLARED),
        "batch": batches,
        "loss": _encode(losses),
        "batch_size": sizes,
        "time": times,
    }
    for key, values in (("weight", weights), ("divisor", divisors), ("window_items", windows)):
        if any(value is not None for value in values):
            columns[key] = _encode(values)
    for key, whole in (("step", steps), ("call", calls)):
        if any(value is not None for value in whole):
            columns[key] = whole
    if any(passes):
        columns["pass_no"] = passes
    return columns


def _encode(values: Sequence[float | None]) -> Sequence[Any]:
    """Spell out the numbers that JSON has not."""
    if None not in values and all(map(isfinite, values)):  # type: ignore[arg-type]
        return values
    return [wire.encode_number(value) for value in values]


def _without(values: Sequence[int], missing: int) -> Sequence[int | None]:
    return [None if value == missing else value for value in values] if missing in values else values
