"""Checking columns by the set of their types and their extremes; row by row only to name a fault."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from lossboard import wire
from lossboard.wire import RecordError
from lossboard_server.domain.blocks import UNDECLARED_EPOCH, Block
from lossboard_server.store.writing.deliveries import Sender


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


def read_group(name: str, columns: Mapping[str, Any], reduction: str | None, sender: Sender) -> Block | None:
    """Check a series' columns and return them as a block; None where they are empty.

    Shapes: every column (n,), or null where all its values are.
    Raises: RecordError whose field names the column and the row.
    """
    for key in _REQUIRED:
        if not isinstance(columns.get(key), list):
            raise RecordError(key, "is missing; it must be a list")
    size = len(columns["index"])
    read = {key: _read_column(key, columns.get(key), size) for key in wire.COLUMN_KEYS}
    nothing: list[Any] = [None] * size
    sizes, windows = read["batch_size"] or nothing, read["window_items"] or nothing
    if 0 in sizes or reduction == "sum_over_window":
        for row, together in enumerate(zip(read["loss"] or (), sizes, windows, strict=True)):
            loss, batch_size, window = together
            try:
                wire.check_together(loss, batch_size, reduction, window)
            except RecordError as error:
                raise RecordError(f"{error.field}[{row}]", error.message) from None
    epochs = read["epoch"] or []
    if None in epochs:
        read["epoch"] = [UNDECLARED_EPOCH if epoch is None else epoch for epoch in epochs]
    return Block(name, sender.attempt, sender.rank, reduction, **read) if size else None  # type: ignore[arg-type]


def _read_column(key: str, values: object, size: int) -> list[Any] | None:
    if values is None:
        return None
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
