"""Points: of a bucket's summary what a curve is drawn from, as plain tuples in the order of the columns.

A curve of 20 runs has 8,000 of them: building a `Summary` of each took four times as long.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple, TypeVar

from lossboard_server.domain.blocks import Place
from lossboard_server.domain.meaning import measure
from lossboard_server.domain.summary import Row, Summary, mean_of
from lossboard_server.domain.sums import ZERO, Sum, add_sums, sum_exactly

Number = TypeVar("Number", int, float)

MAX_EVENTS = 200  # non-finite records told one by one; every further one is counted in its bucket


class Point(NamedTuple):
    """A bucket of neighbouring records; rows of the driver stand for it, being tuples in this order.

    Units as in `Summary`.
    """

    epoch: int
    pass_no: int
    number: int
    """Of the bucket in its epoch and pass."""
    seen: int
    counted: int
    unweighted: int
    nonfinite: int
    items: int
    items_seen: int
    weight: float
    weight_low: float
    weighted: float
    weighted_low: float
    m: float
    m_low: float
    low: float | None
    high: float | None
    last_batch: int
    first_step: int | None
    last_step: int | None
    first_time: float | None
    last_time: float | None
    batches: float
    """Records ÷ ranks: ranks train a batch side by side."""

    @property
    def mean(self) -> float | None:
        """Σ weight·m ÷ Σ weight, by the rules of `Summary.mean`."""
        return mean_of(self.low, self.high, self.m, self.counted, self.unweighted, self.weighted, self.weight)


NOTHING = Point(
    *(-1, 0, 0),
    0,
    0,
    0,
    0,
    0,
    0,
    *(0.0, 0.0),
    *(0.0, 0.0),
    *(0.0, 0.0),
    None,
    None,
    -1,
    None,
    None,
    None,
    None,
    0.0,
)
"""No records at all."""


MEAN_OF = ("low", "high", "m", "counted", "unweighted", "weighted", "weight")
"""The columns that `mean_of` takes, in its order."""


@dataclass(slots=True)
class Points:
    """Buckets in the order of training, and the non-finite records among them."""

    rows: list[Point] = field(default_factory=list)
    events: list[tuple[int, Row]] = field(default_factory=list)
    """(which of the rows, the record), in order; at most MAX_EVENTS."""
    spans_epochs: bool = False


def point_of(summary: Summary, place: Place, number: int, ranks: int) -> Point:
    """Return what of a summary a curve is drawn from."""
    return Point(
        *place, number, summary.seen, summary.count, summary.unweighted, summary.nonfinite, summary.items,
        summary.items_seen, *summary.weight, *summary.weighted, *summary.m, summary.low, summary.high,
        summary.last_batch, summary.first_step, summary.last_step, summary.first_time, summary.last_time,
        summary.seen / ranks,
    )  # fmt: skip


def point_of_one(row: Row, number: int, ranks: int) -> Point | None:
    """Return what `point_of` returns of one record that counts; None for one that doesn't.

    Cost: 2 µs, where a summary takes 14: at width 1 a curve has as many of them as points.
    """
    size = row.evaluation.batch_size or 0
    _, m, weight = measure(row.evaluation)
    if weight == 0 or not math.isfinite(m):
        return None
    known = float(weight or 0)
    return Point(
        row.epoch, row.pass_no, number, 1, 1, int(weight is None), 0, size, size, known, 0.0, known * m, 0.0,
        m, 0.0, m, m, row.batch, row.step, row.step, row.time, row.time, 1 / ranks,
    )  # fmt: skip


def point_of_rows(rows: Sequence[Row], number: int, ranks: int) -> Point:
    """Return what `point_of` returns of the summary of a bucket's rows, which stand in their order.

    Cost: a third of making the summary, which knows more of them.
    """
    nonfinite = unweighted = items = items_seen = 0
    weights: list[float] = []
    weighted: list[float] = []
    means: list[float] = []
    for row in rows:
        size = row.evaluation.batch_size or 0
        items_seen += size
        _, m, weight = measure(row.evaluation)
        if weight == 0:
            continue
        if not math.isfinite(m):
            nonfinite += 1
            continue
        items += size
        unweighted += weight is None
        weights.append(weight or 0.0)
        weighted.append((weight or 0.0) * m)
        means.append(m)
    steps = [row.step for row in rows if row.step is not None]
    times = [row.time for row in rows if row.time is not None]
    last = rows[-1]
    return Point(
        *(last.epoch, last.pass_no, number, len(rows), len(means), unweighted, nonfinite, items, items_seen),
        *_add_up(weights, weighted, means),
        *(last.batch, min(steps, default=None), max(steps, default=None)),
        *(min(times, default=None), max(times, default=None), len(rows) / ranks),
    )


def merge_points(a: Point, b: Point) -> Point:
    """Merge two points of disjoint records; where `b` stands later in training it is the last.

    Source: as `summary.merge`.
    """
    if not a.seen or not b.seen:
        return a if a.seen else b
    later = b if b[:2] > a[:2] or (b[:2] == a[:2] and b.last_batch >= a.last_batch) else a
    weight = _add(a.weight, a.weight_low, b.weight, b.weight_low)
    weighted = _add(a.weighted, a.weighted_low, b.weighted, b.weighted_low)
    m = _add(a.m, a.m_low, b.m, b.m_low)
    return Point(
        epoch=later.epoch,
        pass_no=later.pass_no,
        number=later.number,
        seen=a.seen + b.seen,
        counted=a.counted + b.counted,
        unweighted=a.unweighted + b.unweighted,
        nonfinite=a.nonfinite + b.nonfinite,
        items=a.items + b.items,
        items_seen=a.items_seen + b.items_seen,
        weight=weight[0],
        weight_low=weight[1],
        weighted=weighted[0],
        weighted_low=weighted[1],
        m=m[0],
        m_low=m[1],
        low=_pick(min, a.low, b.low),
        high=_pick(max, a.high, b.high),
        last_batch=later.last_batch,
        first_step=_pick(min, a.first_step, b.first_step),
        last_step=_pick(max, a.last_step, b.last_step),
        first_time=_pick(min, a.first_time, b.first_time),
        last_time=_pick(max, a.last_time, b.last_time),
        batches=a.batches + b.batches,
    )


def merge_all_points(points: Iterable[Point]) -> Point:
    """Merge any number of points, in their order."""
    total = NOTHING
    for point in points:
        total = merge_points(total, point)
    return total


def bucket_rows(rows: Iterable[Row], width: int, ranks: Mapping[Place, int]) -> Points:
    """Group rows, ordered by epoch, pass and batch, into buckets of `width` batches.

    `ranks` of each (epoch, pass_no): the whole epoch's, since a bucket that one rank has
    reached and another has not must not move when the other comes.
    Cost: O(n) time, one bucket of rows in memory.
    """
    found = Points()
    for (epoch, pass_no, number), group in groupby(
        rows, lambda row: (row.epoch, row.pass_no, row.batch // width)
    ):
        members = list(group)
        place = (epoch, pass_no)
        found.events += [(len(found.rows), row) for row in members if is_event(row)]
        del found.events[:-MAX_EVENTS]
        point = point_of_one(members[0], number, ranks[place]) if len(members) == 1 else None
        found.rows.append(point or point_of_rows(members, number, ranks[place]))
    return found


def group_epochs(points: Iterable[Point], width: int) -> Iterator[Point]:
    """Merge the points of whole epochs into buckets of `width` epochs, aligned over the epoch's number."""
    for _, group in groupby(points, lambda point: point.epoch // width):
        yield merge_all_points(group)


def is_event(row: Row) -> bool:
    """Tell whether a record is shown one by one: its loss is not finite, and something was measured."""
    value = row.evaluation.loss
    return value - value != 0 and measure(row.evaluation).weight != 0


def _add_up(
    weights: list[float], weighted: list[float], means: list[float]
) -> tuple[float, float, float, float, float, float, float | None, float | None]:
    """Return the sums of a point, and its least and greatest value."""
    if not means:
        return (*ZERO, *ZERO, *ZERO, None, None)
    low, high = min(means), max(means)  # before the sums, which leave something at the lists' ends
    return (*sum_exactly(weights), *sum_exactly(weighted), *sum_exactly(means), low, high)


def _add(a: float, a_low: float, b: float, b_low: float) -> Sum:
    return add_sums((a, a_low), (b, b_low))


def _pick(choose: Callable[[Number, Number], Number], a: Number | None, b: Number | None) -> Number | None:
    return b if a is None else a if b is None else choose(a, b)
