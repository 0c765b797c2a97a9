"""The pyramid over epochs: neighbouring epochs of one attempt as one bucket, ranks and passes merged.

A bucket is *closed* once the attempt's series has gone on behind its last epoch. Closed ones
are stored; the open ones at the end are made from the level below by whoever reads.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from lossboard_server.domain.meaning import Reduction
from lossboard_server.domain.pyramid import BASE, Climb
from lossboard_server.domain.summary import Summary, follow_all
from lossboard_server.domain.sums import add_all
from lossboard_server.domain.views import EPOCH_VIEWS, view_epoch

SMALLEST_EPOCH_WIDTH = 16  # epochs: a curve reads fewer of them as they are
EPOCH_WIDTHS: tuple[int, ...] = tuple(SMALLEST_EPOCH_WIDTH * BASE**power for power in range(9))


class ViewSpan(NamedTuple):
    """What a view came to in neighbouring epochs, those left out where it has no value."""

    told: int
    sum: float
    least: float
    greatest: float


@dataclass(slots=True)
class EpochBucket:
    """Neighbouring epochs of one attempt's series, in validation their passes.

    `points` counts them, `ranks` is the most that one of them had, `batches` what they add to
    the axis of batches: each one's records ÷ its ranks. Steps and epochs are the attempt's own.
    """

    summary: Summary
    points: int = 1
    ranks: int = 1
    batches: float = 0.0
    views: dict[str, ViewSpan] = field(default_factory=dict)


def bucket_epoch(ranks: Mapping[int, Summary], reduction: Reduction, *, is_training: bool) -> EpochBucket:
    """Make the bucket of one declared epoch, in validation of one pass, from its ranks' summaries.

    Its views are what the summaries tell, never what only rows do.
    """
    summaries = [ranks[rank] for rank in sorted(ranks)]
    views = view_epoch(summaries, reduction, is_declared=True)
    spans = {}
    for name in EPOCH_VIEWS:
        value = views.value(name)
        # Validation makes no steps. What is beyond a double twice over has no value either.
        if value is not None and value == value and (is_training or name != "step_objective"):
            spans[name] = ViewSpan(1, value, value, value)
    merged = views.merged
    return EpochBucket(merged, 1, len(summaries), merged.seen / len(summaries), spans)


def join_epochs(buckets: Sequence[EpochBucket]) -> EpochBucket:
    """Merge neighbouring buckets, at least one, given in the order of training."""
    if len(buckets) == 1:
        return buckets[0]
    return EpochBucket(
        follow_all([bucket.summary for bucket in buckets]),
        sum(bucket.points for bucket in buckets),
        max(bucket.ranks for bucket in buckets),
        math.fsum(bucket.batches for bucket in buckets),
        _join_views(buckets),
    )


def find_closed(epochs: Iterable[int], width: int, reach: int) -> list[int]:
    """Return the numbers of the closed buckets that hold these epochs; `reach` is the last epoch there is."""
    return sorted({epoch // width for epoch in epochs if epoch // width < reach // width})


def climb_epochs(points: Iterable[tuple[int, EpochBucket]]) -> Iterator[tuple[int, int, EpochBucket]]:
    """Yield (width, number, bucket) for every closed bucket of all (epoch, its bucket), given in order.

    Memory: what one open bucket of each width is made of.
    """
    climb = Climb(EPOCH_WIDTHS, join_epochs)
    reach = 0
    for epoch, point in points:
        reach = epoch
        yield from climb.push(epoch, point)  # what it leaves behind is closed
    for width, number, bucket in climb.flush():
        if number < reach // width:
            yield width, number, bucket


def _join_views(buckets: Iterable[EpochBucket]) -> dict[str, ViewSpan]:
    found: dict[str, list[ViewSpan]] = {}
    for bucket in buckets:
        for name, span in bucket.views.items():
            found.setdefault(name, []).append(span)
    return {
        name: ViewSpan(
            sum(span.told for span in spans),
            add_all(span.sum for span in spans),
            min(span.least for span in spans),
            max(span.greatest for span in spans),
        )
        for name, spans in found.items()
    }
