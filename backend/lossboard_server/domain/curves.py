"""Curves from buckets: neighbouring records as one point, with its extremes kept.

Bucket edges are multiples of the bucket's width inside an epoch, so that a live chart does
not change its shape as records arrive.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from lossboard_server.domain.meaning import measure
from lossboard_server.domain.summary import Row, Summary, merge, summarise

WIDTHS: tuple[int, ...] = (
    1,
    16,
    *(16 * 4**power for power in range(1, 11)),
)  # batches: the records themselves, then 16, 64, …
AXES = ("epoch", "batch", "items", "tokens", "step", "time")
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


@dataclass(slots=True)
class Curve:
    """Columns of one length: a point a bucket; None where nothing can be said."""

    x: list[float | None] = field(default_factory=list)
    batch_view: list[float | None] = field(default_factory=list)
    running: list[float | None] = field(default_factory=list)
    low: list[float | None] = field(default_factory=list)
    high: list[float | None] = field(default_factory=list)
    count: list[int] = field(default_factory=list)
    nonfinite: list[int] = field(default_factory=list)
    epoch: list[int] = field(default_factory=list)
    batch: list[int] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """Time of each point's last record, never decreasing; for placing validation."""


def choose_width(epochs: Sequence[Summary], max_points: int) -> int | None:
    """Return the smallest bucket width that draws these epochs in `max_points`.

    None: there are more epochs than points, and buckets must span epochs.
    """
    for width in WIDTHS:
        if sum(min(epoch.seen, epoch.last_batch // width + 1) for epoch in epochs) <= max_points:
            return width
    return None


def choose_epoch_width(epochs: int, max_points: int) -> int:
    """Return how many epochs a bucket spans, a power of 4."""
    width = 1
    while -(-epochs // width) > max_points:
        width *= 4
    return width


def bucket_rows(rows: Iterable[Row], width: int) -> Iterator[Bucket]:
    """Group rows, ordered by epoch and batch, into buckets of `width` batches.

    Cost: O(n) time, one bucket of memory.
    """
    group: list[Row] = []
    place: tuple[int, int] | None = None
    for row in rows:
        here = (row.epoch, row.batch // width)
        if here != place and group:
            yield _bucket(group)
            group = []
        place = here
        group.append(row)
    if group:
        yield _bucket(group)


def bucket_epochs(epochs: Iterable[tuple[int, Summary, int]], width: int) -> Iterator[Bucket]:
    """Merge (epoch, summary, ranks) into buckets of `width` epochs, aligned over the epoch's number."""
    current: Bucket | None = None
    place: int | None = None
    for epoch, summary, ranks in epochs:
        if current is None or epoch // width != place:
            if current is not None:
                yield current
            current = Bucket(epoch, summary, ranks, spans_epochs=width > 1)
            place = epoch // width
            continue
        current = Bucket(
            epoch, _follow(current.summary, summary), max(ranks, current.ranks), spans_epochs=True
        )
    if current is not None:
        yield current


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
            self.step if summary.last_step is None else float(summary.last_step),
            self.time if summary.last_time is None else summary.last_time,
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


def draw(buckets: Iterable[Bucket], axis: str, standing: Standing) -> Curve:
    """Draw training buckets on an axis, from where training stood before the first of them.

    Units: batches, items, units of weight, optimizer steps or unix seconds, as seen.
    """
    curve = Curve()
    epoch: int | None = None
    so_far = Summary()
    for bucket in buckets:
        if bucket.epoch != epoch:
            epoch, so_far = bucket.epoch, Summary()
        so_far = _follow(so_far, bucket.summary)
        standing = standing.after(bucket.summary, bucket.ranks)
        running = None if bucket.spans_epochs or so_far.unweighted else so_far.mean
        _add_point(curve, standing.on(axis), running, bucket)
    return curve


def draw_passes(
    passes: Sequence[tuple[int, Summary]], axis: str, train: Curve | None, ends: dict[int, float]
) -> Curve:
    """Draw validation passes, each one point where training stood when it began.

    `train` is the training curve on the same axis; `ends` the x at which each epoch of
    training ended, for passes whose time says nothing.
    """
    curve = Curve()
    for epoch, summary in passes:
        x = summary.last_time if axis == "time" else _place(epoch, summary, train, ends)
        _add_point(curve, x, None if summary.unweighted else summary.mean, Bucket(epoch, summary))
    return curve


def _place(epoch: int, summary: Summary, train: Curve | None, ends: dict[int, float]) -> float | None:
    if train is not None and train.times and summary.first_time is not None:
        index = bisect_right(train.times, summary.first_time) - 1
        if index >= 0 and train.epoch[index] == epoch:
            return train.x[index]
    if epoch in ends:
        return ends[epoch]
    return train.x[-1] if train is not None and train.x else None


def _add_point(curve: Curve, x: float | None, running: float | None, bucket: Bucket) -> None:
    summary = bucket.summary
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


def _bucket(rows: list[Row]) -> Bucket:
    events = []
    for row in rows:
        if not math.isfinite(row.evaluation.loss) and measure(row.evaluation).weight != 0:
            events.append(Event(None, row.epoch, row.batch, row.evaluation.loss))
    return Bucket(
        rows[0].epoch, summarise(rows), len({row.rank for row in rows}), events=events[-MAX_EVENTS:]
    )


def _follow(before: Summary, after: Summary) -> Summary:
    """Merge where `after` comes later in training, whatever its batch numbers are."""
    merged = merge(before, after)
    merged.last_batch, merged.last_batch_size = after.last_batch, after.last_batch_size
    return merged
