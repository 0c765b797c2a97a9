"""Curves from buckets: neighbouring records as one point, with its extremes kept.

Bucket edges are multiples of the bucket's width inside an epoch, so that a live chart does
not change its shape as records arrive.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from lossboard_server.domain.blocks import Place
from lossboard_server.domain.meaning import measure
from lossboard_server.domain.pyramid import WIDTHS
from lossboard_server.domain.smoothing import Smoothing
from lossboard_server.domain.summary import Row, Summary, merge, summarise

MAX_EVENTS = 200  # non-finite records told one by one; every further one is counted in its bucket


@dataclass(slots=True)
class Event:
    """A record whose loss is not finite."""

    x: float | None
    epoch: int
    batch: int
    loss: float


@dataclass(slots=True)
class Bucket:
    """Neighbouring records of a series."""

    epoch: int
    summary: Summary
    ranks: int = 1
    spans_epochs: bool = False
    events: list[Event] = field(default_factory=list)

    def note(self, row: Row) -> None:
        """Keep a record of the bucket whose loss is not finite."""
        self.events.append(Event(None, row.epoch, row.batch, row.evaluation.loss))


@dataclass(slots=True)
class Curve:
    """Columns of one length: a point a bucket; None where nothing can be said."""

    x: list[float | None] = field(default_factory=list)
    batch_view: list[float | None] = field(default_factory=list)
    running: list[float | None] = field(default_factory=list)
    smooth: list[float | None] | None = None
    """Asked for with a half-life; for the eye only."""
    low: list[float | None] = field(default_factory=list)
    high: list[float | None] = field(default_factory=list)
    count: list[int] = field(default_factory=list)
    nonfinite: list[int] = field(default_factory=list)
    epoch: list[int] = field(default_factory=list)
    batch: list[int] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """Time of each point's last record, never decreasing; for placing validation."""


def choose_width(epochs: Sequence[Summary], max_points: int, least: int = 1) -> int | None:
    """Return the smallest bucket width from `least` on that draws these epochs in `max_points`.

    None: there are more epochs than points, and buckets must span epochs.
    """
    for width in WIDTHS if len(epochs) <= max_points else ():
        if (
            width >= least
            and sum(min(epoch.seen, epoch.last_batch // width + 1) for epoch in epochs) <= max_points
        ):
            return width
    return None


def choose_epoch_width(epochs: int, max_points: int) -> int:
    """Return how many epochs a bucket spans, a power of 4."""
    width = 1
    while -(-epochs // width) > max_points:
        width *= 4
    return width


def bucket_rows(rows: Iterable[Row], width: int, ranks: Mapping[Place, int]) -> Iterator[Bucket]:
    """Group rows, ordered by epoch, pass and batch, into buckets of `width` batches.

    `ranks` of each (epoch, pass_no): the whole epoch's, since a bucket that one rank has
    reached and another has not must not move when the other comes.
    Cost: O(n) time, one bucket of memory.
    """
    for (epoch, pass_no, _), group in groupby(rows, lambda row: (row.epoch, row.pass_no, row.batch // width)):
        members = list(group)
        bucket = Bucket(epoch, summarise(members), ranks[epoch, pass_no])
        for row in members:
            if is_event(row):
                bucket.note(row)
        del bucket.events[:-MAX_EVENTS]
        yield bucket


def bucket_epochs(epochs: Iterable[Bucket], width: int) -> Iterator[Bucket]:
    """Merge the buckets of whole epochs into buckets of `width` epochs, aligned over the epoch's number."""
    for _, group in groupby(epochs, lambda bucket: bucket.epoch // width):
        first, *others = group
        merged = Bucket(first.epoch, first.summary, first.ranks, width > 1, list(first.events))
        for bucket in others:
            merged.epoch = bucket.epoch
            merged.summary = _follow(merged.summary, bucket.summary)
            merged.ranks = max(merged.ranks, bucket.ranks)
            merged.events += bucket.events
        yield merged


def is_event(row: Row) -> bool:
    """Tell whether a record is shown one by one: its loss is not finite, and something was measured."""
    return not math.isfinite(row.evaluation.loss) and measure(row.evaluation).weight != 0


@dataclass(slots=True)
class Standing:
    """Where training stood, on every axis of what was seen."""

    batches: float = 0.0
    items: float = 0.0
    weight: float = 0.0
    step: float | None = None
    time: float | None = None

    def after(self, summary: Summary, ranks: int) -> "Standing":
        """Return where training stands after these records; ranks train a batch side by side."""
        return Standing(
            self.batches + summary.seen / ranks,
            self.items + summary.items_seen,
            self.weight + summary.weight[0],
            _latest(self.step, summary.last_step),
            _latest(self.time, summary.last_time),
        )

    def on(self, axis: str) -> float | None:
        """Return the position on an axis; None where nothing told it."""
        x = {
            "batch": self.batches,
            "items": self.items,
            "tokens": self.weight,
            "step": self.step,
            "time": self.time,
        }
        return x[axis]


def draw(
    buckets: Iterable[Bucket], axis: str, standing: Standing, smoothing: Smoothing | None = None
) -> Curve:
    """Draw training buckets on an axis, from where training stood before the first of them.

    With `smoothing` the curve has a smoothed column, carried on from where that stood: a
    zoomed range is warmed up by `warm_up` with the buckets before it.
    Units: batches, items, units of weight, optimizer steps or unix seconds, as seen.
    """
    curve = Curve(smooth=None if smoothing is None else [])
    epoch: int | None = None
    so_far = Summary()
    for bucket in buckets:
        if bucket.epoch != epoch:
            epoch, so_far = bucket.epoch, Summary()
        so_far = _follow(so_far, bucket.summary)
        standing = standing.after(bucket.summary, bucket.ranks)
        running = None if bucket.spans_epochs or so_far.unweighted else so_far.mean
        _add_point(curve, standing.on(axis), running, bucket, smoothing)
    return curve


def warm_up(smoothing: Smoothing, summaries: Iterable[Summary]) -> None:
    """Let a smoothing follow what came before a range, which then begins where the whole curve stands."""
    for summary in summaries:
        _smooth(smoothing, summary)


def _smooth(smoothing: Smoothing, summary: Summary) -> float | None:
    """Follow a bucket; records of undeclared size count as one item each."""
    return smoothing.follow(summary.mean, summary.items or summary.count)


def _add_point(
    curve: Curve, x: float | None, running: float | None, bucket: Bucket, smoothing: Smoothing | None
) -> None:
    summary = bucket.summary
    if curve.smooth is not None and smoothing is not None:
        curve.smooth.append(_smooth(smoothing, summary))
    curve.x.append(x)
    curve.batch_view.append(summary.mean)
    curve.running.append(running)
    curve.low.append(summary.low)
    curve.high.append(summary.high)
    curve.count.append(summary.seen)
    curve.nonfinite.append(summary.nonfinite)
    curve.epoch.append(bucket.epoch)
    curve.batch.append(summary.last_batch)
    last = summary.last_time if summary.last_time is not None else -math.inf
    curve.times.append(max(last, curve.times[-1]) if curve.times else last)
    for event in bucket.events:
        curve.events.append(Event(x, event.epoch, event.batch, event.loss))
    del curve.events[:-MAX_EVENTS]


def _follow(before: Summary, after: Summary) -> Summary:
    """Merge where `after` comes later in training, whatever its batch numbers are."""
    merged = merge(before, after)
    merged.last_batch, merged.last_batch_size = after.last_batch, after.last_batch_size
    return merged


def _latest(known: float | None, told: float | None) -> float | None:
    """Return the later of two positions: a rank that lags, or a clock set back, takes nothing back."""
    if told is None or known is None:
        return known if told is None else float(told)
    return max(known, float(told))
