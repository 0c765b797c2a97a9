"""Mergeable summaries of records: what an epoch or a bucket keeps instead of its rows.

Sums are pairs (value, error) of doubles, so that merging in any order agrees to the last
bits; the spread is a weighted M2 merged by Chan's rule, never Σx² (it went negative).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from lossboard_server.domain.meaning import Evaluation, Reduction, measure

Sum = tuple[float, float]
"""A compensated sum: the rounded value and what the rounding lost."""

ZERO: Sum = (0.0, 0.0)

Number = TypeVar("Number", int, float)


def add_sums(a: Sum, b: Sum) -> Sum:
    """Add two compensated sums.

    Source: Knuth's two-sum, the errors carried along (SEMANTICS §4.1).
    """
    high = a[0] + b[0]
    part = high - a[0]
    low = (a[0] - (high - part)) + (b[0] - part) + a[1] + b[1]
    total = high + low
    if not math.isfinite(total):  # an overflow: its error term would be NaN, and so would ∞ − ∞
        return (math.inf if total != total else total, 0.0)
    return (total, low - (total - high))


def sum_exactly(values: list[float]) -> Sum:
    """Sum a list with one rounding, and keep what it lost; −sum is left at the list's end.

    Cost: two passes in C.
    """
    try:
        total = math.fsum(values)
        if not math.isfinite(total):
            return (total, 0.0)
        values.append(-total)
        return (total, math.fsum(values))
    except (OverflowError, ValueError):  # finite losses whose sum, or whose own product, is beyond a double
        total = sum(values)
        return (math.inf if total != total else total, 0.0)


def add_all(values: Iterable[float]) -> float:
    """Sum with one rounding; infinite where that is beyond a double."""
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):  # losses near the end of the doubles
        return math.inf


@dataclass(slots=True)
class Summary:
    """What neighbouring records of one series add up to.

    Units: weight in the series' weight unit, v and m in the loss's own unit, times unix
    seconds. A *counted* record is finite with weight > 0 (or of undeclared meaning); only
    those enter the sums, all enter `seen` and `items_seen`.
    """

    seen: int = 0
    count: int = 0
    unweighted: int = 0
    nonfinite: int = 0
    empty: int = 0
    items: int = 0
    items_seen: int = 0
    weight: Sum = ZERO
    weighted: Sum = ZERO
    v: Sum = ZERO
    m: Sum = ZERO
    sized: Sum = ZERO
    m2: float = 0.0
    low: float | None = None
    high: float | None = None
    batch_size: int | None = None
    last_batch_size: int | None = None
    last_batch: int = -1
    last_rank: int = -1
    first_step: int | None = None
    last_step: int | None = None
    first_time: float | None = None
    last_time: float | None = None

    @property
    def mean(self) -> float | None:
        """Σ weight·m ÷ Σ weight: exact per unit of weight. Where no weight is known, the plain mean."""
        if self.low == self.high:  # of one record the record itself: loss × weight may be beyond a double
            return self.low
        if self.unweighted:
            return self.m[0] / self.count
        return self.weighted[0] / self.weight[0]

    @property
    def size_weighted(self) -> float | None:
        """Σ batch_size·m ÷ Σ batch_size: what Keras and Lightning print."""
        return self.sized[0] / self.items if self.items and not self.unweighted else None

    @property
    def std_error(self) -> float | None:
        """√(scatter variance ÷ Σ n) of the mean, from the batches' own scatter; None below two batches.

        Source: SEMANTICS §4.4.
        """
        if self.count < 2 or not self.items or self.unweighted:
            return None
        return math.sqrt(self.m2 / (self.count - 1) / self.items)


@dataclass(slots=True)
class Row:
    """One stored record as the summaries read it: where it stands and its numbers."""

    epoch: int
    batch: int
    rank: int
    evaluation: Evaluation
    step: int | None
    time: float | None
    pass_no: int = 0


def summarise(rows: Iterable[Row]) -> Summary:
    """Summarise rows of one series, in any order.

    Cost: O(n) time; about 1 µs a row.
    """
    total = Summary()
    weights: list[float] = []
    weighted: list[float] = []
    values: list[float] = []
    means: list[float] = []
    sizes: list[int] = []
    for row in rows:
        _see(total, row)
        v, m, weight = measure(row.evaluation)
        if weight == 0:
            total.empty += 1
        elif not math.isfinite(m):
            total.nonfinite += 1
        else:
            total.unweighted += weight is None
            weights.append(weight or 0.0)
            weighted.append((weight or 0.0) * m)
            values.append(v)
            means.append(m)
            sizes.append(row.evaluation.batch_size or 0)
    if means:
        _add_counted(total, weights, weighted, values, means, sizes)
    return total


def merge(a: Summary, b: Summary) -> Summary:
    """Merge two summaries of disjoint records.

    Source: Chan, Golub, LeVeque 1979 for M2 (SEMANTICS §4.1).
    """
    if a.seen == 0 or b.seen == 0:
        return b if a.seen == 0 else a
    m2 = a.m2 + b.m2
    if a.items and b.items:
        gap = b.sized[0] / b.items - a.sized[0] / a.items
        m2 += gap * gap * a.items * b.items / (a.items + b.items)
        m2 = math.inf if m2 != m2 else m2  # both were beyond a double
    newer = b if (b.last_batch, b.last_rank) >= (a.last_batch, a.last_rank) else a
    return Summary(
        seen=a.seen + b.seen,
        count=a.count + b.count,
        unweighted=a.unweighted + b.unweighted,
        nonfinite=a.nonfinite + b.nonfinite,
        empty=a.empty + b.empty,
        items=a.items + b.items,
        items_seen=a.items_seen + b.items_seen,
        weight=add_sums(a.weight, b.weight),
        weighted=add_sums(a.weighted, b.weighted),
        v=add_sums(a.v, b.v),
        m=add_sums(a.m, b.m),
        sized=add_sums(a.sized, b.sized),
        m2=m2,
        low=_least(a.low, b.low),
        high=_most(a.high, b.high),
        batch_size=_most(a.batch_size, b.batch_size),
        last_batch_size=newer.last_batch_size,
        last_batch=newer.last_batch,
        last_rank=newer.last_rank,
        first_step=_least(a.first_step, b.first_step),
        last_step=_most(a.last_step, b.last_step),
        first_time=_least(a.first_time, b.first_time),
        last_time=_most(a.last_time, b.last_time),
    )


def merge_all(summaries: Iterable[Summary]) -> Summary:
    """Merge any number of summaries; none give an empty one."""
    total: Summary | None = None
    for summary in summaries:
        total = summary if total is None else merge(total, summary)
    return Summary() if total is None else total


def _see(total: Summary, row: Row) -> None:
    size = row.evaluation.batch_size
    total.seen += 1
    if size is not None:
        total.items_seen += size
        if total.batch_size is None or size > total.batch_size:
            total.batch_size = size
    if (row.batch, row.rank) >= (total.last_batch, total.last_rank):
        total.last_batch, total.last_rank, total.last_batch_size = row.batch, row.rank, size
    if row.step is not None:
        total.first_step = _least(total.first_step, row.step)
        total.last_step = _most(total.last_step, row.step)
    time = row.time
    if time is not None:
        if total.first_time is None or time < total.first_time:
            total.first_time = time
        if total.last_time is None or time > total.last_time:
            total.last_time = time


def _add_counted(
    total: Summary,
    weights: list[float],
    weighted: list[float],
    values: list[float],
    means: list[float],
    sizes: list[int],
) -> None:
    total.count = len(means)
    total.items = sum(sizes)
    total.low, total.high = min(means), max(means)
    sized = [n * m for n, m in zip(sizes, means, strict=True)]
    total.sized = sum_exactly(sized)
    if total.items and total.count > 1:
        centre = total.sized[0] / total.items
        total.m2 = scatter(sizes, means, centre)
    total.weight = sum_exactly(weights)
    total.weighted = sum_exactly(weighted)
    total.v = sum_exactly(values)
    total.m = sum_exactly(means)


def scatter(sizes: list[int], means: list[float], centre: float) -> float:
    """Return Σ n·(m − centre)²."""
    return add_all(n * (m - centre) * (m - centre) for n, m in zip(sizes, means, strict=True))


def _least(a: Number | None, b: Number | None) -> Number | None:
    return b if a is None else a if b is None else min(a, b)


def _most(a: Number | None, b: Number | None) -> Number | None:
    return b if a is None else a if b is None else max(a, b)


def reduction_of(codes: Iterable[Reduction]) -> Reduction:
    """The reduction of a group: its common one, UNKNOWN where records disagree."""
    found = set(codes)
    return found.pop() if len(found) == 1 else Reduction.UNKNOWN
