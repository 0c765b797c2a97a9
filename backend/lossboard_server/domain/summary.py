"""Mergeable summaries of records: what an epoch or a bucket keeps instead of its rows.

Sums are pairs (value, error) of doubles, so that merging in any order agrees to the last
bits; the spread is a weighted M2 merged by Chan's rule, never Σx² (it went negative).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TypeVar

from lossboard_server.domain.meaning import Evaluation, Reduction, measure
from lossboard_server.domain.sums import ZERO, add_all, sum_exactly
from lossboard_server.domain.sums import Sum as Sum
from lossboard_server.domain.sums import add_sums as add_sums

MANY = 7  # summaries, from which on it costs less to merge them field by field

Number = TypeVar("Number", int, float)


def mean_of(
    low: float | None,
    high: float | None,
    m: float,
    count: int,
    unweighted: int,
    weighted: float,
    weight: float,
) -> float | None:
    """Return Σ weight·m ÷ Σ weight: exact per unit of weight. Where no weight is known, the plain mean."""
    if low == high:  # of one record the record itself: loss × weight may be beyond a double
        return low
    return m / count if unweighted else weighted / weight


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
        """Σ weight·m ÷ Σ weight, as `mean_of` has it."""
        sums = (self.weighted[0], self.weight[0])
        return mean_of(self.low, self.high, self.m[0], self.count, self.unweighted, *sums)

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


def follow_all(summaries: Sequence[Summary]) -> Summary:
    """Merge summaries, none of them empty, in the order of training: the last batch is the last one's."""
    if len(summaries) == 1:
        return summaries[0]
    merged, last = merge_all(summaries), summaries[-1]
    merged.last_batch, merged.last_rank = last.last_batch, last.last_rank
    merged.last_batch_size = last.last_batch_size
    return merged


def merge_all(summaries: Iterable[Summary]) -> Summary:
    """Merge any number of summaries; none give an empty one.

    Cost: 30 µs for 16, where merging two by two takes 55.
    """
    parts = [summary for summary in summaries if summary.seen]
    if len(parts) < MANY:
        return reduce(merge, parts) if parts else Summary()
    items = sum([part.items for part in parts])
    sized = _add_sums([part.sized for part in parts])
    m2 = [part.m2 for part in parts]
    if items:
        centre = sized[0] / items
        gaps = [(part.items, part.sized[0] / part.items - centre) for part in parts if part.items]
        m2 += [size * gap * gap for size, gap in gaps]
    spread = add_all(m2)
    newest = max(reversed(parts), key=_stand)
    return Summary(
        seen=sum([part.seen for part in parts]),
        count=sum([part.count for part in parts]),
        unweighted=sum([part.unweighted for part in parts]),
        nonfinite=sum([part.nonfinite for part in parts]),
        empty=sum([part.empty for part in parts]),
        items=items,
        items_seen=sum([part.items_seen for part in parts]),
        weight=_add_sums([part.weight for part in parts]),
        weighted=_add_sums([part.weighted for part in parts]),
        v=_add_sums([part.v for part in parts]),
        m=_add_sums([part.m for part in parts]),
        sized=sized,
        m2=math.inf if spread != spread else spread,
        low=min([part.low for part in parts if part.low is not None], default=None),
        high=max([part.high for part in parts if part.high is not None], default=None),
        batch_size=max([part.batch_size for part in parts if part.batch_size is not None], default=None),
        last_batch_size=newest.last_batch_size,
        last_batch=newest.last_batch,
        last_rank=newest.last_rank,
        first_step=min([part.first_step for part in parts if part.first_step is not None], default=None),
        last_step=max([part.last_step for part in parts if part.last_step is not None], default=None),
        first_time=min([part.first_time for part in parts if part.first_time is not None], default=None),
        last_time=max([part.last_time for part in parts if part.last_time is not None], default=None),
    )


def _add_sums(sums: list[Sum]) -> Sum:
    return sum_exactly([half for both in sums for half in both])


def _stand(summary: Summary) -> tuple[int, int]:
    return summary.last_batch, summary.last_rank


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
    return add_all([n * (m - centre) * (m - centre) for n, m in zip(sizes, means, strict=True)])


def _least(a: Number | None, b: Number | None) -> Number | None:
    return b if a is None else a if b is None else min(a, b)


def _most(a: Number | None, b: Number | None) -> Number | None:
    return b if a is None else a if b is None else max(a, b)


def reduction_of(codes: Iterable[Reduction]) -> Reduction:
    """The reduction of a group: its common one, UNKNOWN where records disagree."""
    found = set(codes)
    return found.pop() if len(found) == 1 else Reduction.UNKNOWN
