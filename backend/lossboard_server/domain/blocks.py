"""Blocks: records as columns, and their summaries bucket by bucket without an object a record."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import repeat
from typing import Any, NamedTuple

from lossboard.wire import Record
from lossboard_server.domain.meaning import Evaluation, Reduction
from lossboard_server.domain.summary import Row, Summary, scatter, sum_exactly, summarise

UNDECLARED_EPOCH = -1

Place = tuple[int, int]
"""(epoch, pass_no)."""

_SCALARS = 4  # fields of a block before its columns


@dataclass(slots=True)
class Block:
    """Records of one series, attempt, rank and reduction as columns of one length, at least 1.

    Units as in `lossboard.wire.Record`, but for an undeclared epoch, −1. A column that says
    nothing is None; `reduction` None leaves it to the series.
    """

    series: str
    attempt: float
    rank: int
    reduction: str | None
    epoch: list[int]
    batch: list[int]
    loss: list[float]
    batch_size: list[int | None] | None
    weight: list[float | None] | None
    divisor: list[float | None] | None
    window_items: list[float | None] | None
    step: list[int | None] | None
    time: list[float | None] | None
    pass_no: list[int] | None
    call: list[int | None] | None
    index: list[int]

    def __len__(self) -> int:
        return len(self.batch)

    def select(self, rows: Sequence[int]) -> "Block":
        """Return the block of these rows, in this order."""
        values = [getattr(self, field.name) for field in fields(self)]
        columns = [None if column is None else [column[row] for row in rows] for column in values[_SCALARS:]]
        return Block(*values[:_SCALARS], *columns)


def as_blocks(records: Iterable[Record], indexes: Iterable[int] = ()) -> list[Block]:
    """Group records into blocks, in the order in which each first appears."""
    groups: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}
    numbers = iter(indexes)
    for record in records:
        key = (record.series, record.attempt, record.rank, record.reduction)
        epoch = UNDECLARED_EPOCH if record.epoch is None else record.epoch
        groups.setdefault(key, []).append((epoch, *record[2:12], next(numbers, 0)))
    return [Block(*key, *map(list, zip(*rows, strict=True))) for key, rows in groups.items()]


class _Columns(NamedTuple):
    """A block in order of batch, measured as far as whole columns allow.

    `means` None: some record needs a closer look, and each is measured by itself.
    """

    block: Block
    reduction: Reduction
    values: list[float]
    means: list[float] | None
    weights: list[Any]
    sizes: list[Any]
    weighted: list[float]
    sized: list[float]


def summarise_block(block: Block, reduction: Reduction, width: int | None) -> dict[Place, dict[int, Summary]]:
    """Summarise a block's records by epoch and pass, and in these by bucket of `width` batches.

    `width` None: one bucket, number 0, whatever the batches are.
    Cost: O(n) time where the columns ascend, as our client sends them; about 0.6 µs a record.
    """
    block = _ascend(block)
    columns = _measure_columns(block, reduction)
    found: dict[Place, dict[int, Summary]] = {}
    for place, first, last in _places(block):
        if width is None:
            found[place] = {0: _summarise_rows(columns, first, last)}
            continue
        buckets = found[place] = {}
        while first < last:
            number = block.batch[first] // width
            end = bisect_left(block.batch, (number + 1) * width, first, last)
            buckets[number] = _summarise_rows(columns, first, end)
            first = end
    return found


def _ascend(block: Block) -> Block:
    if block.pass_no is not None and not any(block.pass_no):
        block = replace(block, pass_no=None)
    if (
        block.pass_no is None
        and _is_sorted(block.epoch)
        and all(_is_sorted(block.batch[first:last]) for _, first, last in _places(block))
    ):
        return block
    passes = block.pass_no or [0] * len(block)
    places = list(zip(block.epoch, passes, block.batch, strict=True))
    return block if _is_sorted(places) else block.select(sorted(range(len(places)), key=places.__getitem__))


def _is_sorted(values: list[Any]) -> bool:
    return sorted(values) == values


def _places(block: Block) -> Iterator[tuple[Place, int, int]]:
    """Yield each epoch and pass with its range of rows."""
    first, size = 0, len(block)
    while first < size:
        epoch = block.epoch[first]
        end = bisect_right(block.epoch, epoch, first, size)
        if block.pass_no is None:
            yield (epoch, 0), first, end
        else:
            while first < end:
                pass_no = block.pass_no[first]
                last = bisect_right(block.pass_no, pass_no, first, end)
                yield (epoch, pass_no), first, last
                first = last
        first = end


def _measure_columns(block: Block, reduction: Reduction) -> _Columns:
    """Measure plain means, whose every record has its items, by whole columns (`meaning.measure`)."""
    sizes: list[Any] = block.batch_size or []
    weights: list[Any] = block.weight or sizes
    is_plain = (
        reduction is Reduction.MEAN
        and block.divisor is None
        and bool(sizes)
        and None not in sizes
        and (weights is sizes or None not in weights)
        and min(weights) > 0
    )
    if not is_plain:
        return _Columns(block, reduction, block.loss, None, [], [], [], [])
    sized = [n * m for n, m in zip(sizes, block.loss, strict=True)]
    weighted = sized if weights is sizes else [w * m for w, m in zip(weights, block.loss, strict=True)]
    return _Columns(block, reduction, block.loss, block.loss, weights, sizes, weighted, sized)


def _summarise_rows(columns: _Columns, first: int, last: int) -> Summary:
    """Summarise rows that ascend by batch; the sums of plain means go through C."""
    if columns.means is None:
        return summarise(_rows(columns, first, last))
    means = columns.means[first:last]
    m = sum_exactly(means)
    if not math.isfinite(m[0]):
        return summarise(_rows(columns, first, last))
    means.pop()  # what sum_exactly left there
    block = columns.block
    sizes = columns.sizes[first:last]
    items = sum(sizes)
    sized = sum_exactly(columns.sized[first:last])
    is_by_size = columns.weights is columns.sizes
    times, steps = _told(block.time, first, last), _told(block.step, first, last)
    return Summary(
        seen=last - first,
        count=last - first,
        items=items,
        items_seen=items,
        weight=(float(items), 0.0) if is_by_size else sum_exactly(columns.weights[first:last]),
        weighted=sized if is_by_size else sum_exactly(columns.weighted[first:last]),
        v=m,
        m=m,
        sized=sized,
        m2=scatter(sizes, means, sized[0] / items) if items and last - first > 1 else 0.0,
        low=min(means),
        high=max(means),
        batch_size=max(sizes),
        last_batch_size=sizes[-1],
        last_batch=block.batch[last - 1],
        last_rank=block.rank,
        first_step=min(steps, default=None),
        last_step=max(steps, default=None),
        first_time=min(times, default=None),
        last_time=max(times, default=None),
    )


def _told(column: list[Any] | None, first: int, last: int) -> list[Any]:
    values = [] if column is None else column[first:last]
    return [value for value in values if value is not None] if None in values else values


def _rows(columns: _Columns, first: int, last: int) -> Iterator[Row]:
    block = columns.block
    names = ("epoch", "batch", "loss", "batch_size", "weight", "divisor", "window_items", "step", "time")
    values = [
        repeat(None) if column is None else column[first:last]
        for column in (getattr(block, name) for name in names)
    ]
    for epoch, batch, loss, size, weight, divisor, window, step, time in zip(*values, strict=False):
        evaluation = Evaluation(loss, size, weight, divisor, window, columns.reduction)
        yield Row(epoch, batch, block.rank, evaluation, step, time)
