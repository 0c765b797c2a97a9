"""Checking columns by the set of their types and their extremes; row by row only to name a fault."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from lossboard import wire
from lossboard.wire import Record, RecordError
from lossboard_server.store.deliveries import Sender


class _Column(NamedTuple):
    """How one column is checked: the wire's check of one value, and what needs no such check."""

    check: Callable[[Any], Any]
    kind: type
    most: float
    least: float = 0
    is_optional: bool = True


def _whole(field: str, most: int, *, is_optional: bool = True) -> _Column:
    check = partial(wire.check_optional if is_optional else wire.check_whole, field, most=most)
    return _Column(check, int, most, is_optional=is_optional)


_TINY = math.ulp(0.0)
_HUGE = math.nextafter(math.inf, 0)
_COLUMNS = {
    "epoch": _whole("epoch", wire.MAX_SMALL),
    "batch": _whole("batch", wire.MAX_POSITION, is_optional=False),
    "loss": _Column(wire.check_loss, float, math.inf, -math.inf, is_optional=False),
    "batch_size": _whole("batch_size", wire.MAX_SMALL),
    "weight": _Column(wire.check_weight, float, _HUGE),
    "divisor": _Column(partial(wire.check_positive, "divisor"), float, _HUGE, _TINY),
    "window_items": _Column(partial(wire.check_positive, "window_items"), float, _HUGE, _TINY),
    "step": _whole("step", wire.MAX_POSITION),
    "time": _Column(wire.check_time, float, wire.MAX_TIME_UNIX_S),
    "pass_no": _whole("pass_no", wire.MAX_SMALL, is_optional=False),
    "call": _whole("call", wire.MAX_SMALL),
    "index": _whole("index", wire.MAX_POSITION, is_optional=False),
}
_REQUIRED = ("epoch", "batch", "loss", "index")


def read_group(
    name: str, columns: Mapping[str, Any], reduction: str | None, sender: Sender
) -> tuple[list[Record], list[int]]:
    """Check a series' columns and return its records with their indexes in the journal.

    Shapes: every column (n,), or null where all its values are.
    Raises: RecordError whose field names the column and the row.
    """
    for key in _REQUIRED:
        if not isinstance(columns.get(key), list):
            raise RecordError(key, "is missing; it must be a list")
    size = len(columns["index"])
    read = [_read_column(key, columns.get(key), size) for key in wire.COLUMN_KEYS]
    batch_sizes, losses, windows = read[3], read[2], read[6]
    if 0 in batch_sizes or reduction == "sum_over_window":
        for row, (loss, batch_size, window) in enumerate(zip(losses, batch_sizes, windows, strict=True)):
            try:
                wire.check_together(loss, batch_size, reduction, window)
            except RecordError as error:
                raise RecordError(f"{error.field}[{row}]", error.message) from None
    tail = (sender.rank, sender.attempt, reduction)
    *values, indexes = read
    return [Record._make((name, *row, *tail)) for row in zip(*values, strict=True)], indexes


def _read_column(key: str, values: object, size: int) -> list[Any]:
    if values is None:
        return [0 if key == "pass_no" else None] * size
    if not isinstance(values, list):
        raise RecordError(key, "must be a list, or null where it says nothing")
    if len(values) != size:
        raise RecordError(key, f"has {len(values)} values beside {size} indexes")
    column = _COLUMNS[key]
    if (
        size
        and set(map(type, values)) == {column.kind}
        and column.least <= min(values) <= max(values) <= column.most
    ):
        return values
    checked = []
    for row, value in enumerate(values):
        try:
            checked.append(column.check(value))
        except RecordError as error:
            raise RecordError(f"{key}[{row}]", error.message) from None
    return checked
