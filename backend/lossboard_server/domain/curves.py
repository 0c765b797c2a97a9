"""Curves: points on an axis of what was seen in training.

Bucket edges are multiples of the bucket's width inside an epoch, so that a live chart does
not change its shape as records arrive.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from lossboard_server.domain.points import MEAN_OF, NOTHING, Point, Points
from lossboard_server.domain.pyramid import WIDTHS
from lossboard_server.domain.smoothing import Smoothing
from lossboard_server.domain.summary import Summary, add_sums, mean_of


@dataclass(slots=True)
class Event:
    """A record whose loss is not finite."""

    x: float | None
    epoch: int
    batch: int
    loss: float


@dataclass(slots=True)
class Curve:
    """Columns of one length: a point a bucket; None where nothing can be said."""

    x: Sequence[float | None] = ()
    batch_view: Sequence[float | None] = ()
    running: Sequence[float | None] = ()
    smooth: list[float | None] | None = None
    """Asked for with a half-life; for the eye only."""
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    count: Sequence[int] = ()
    nonfinite: Sequence[int] = ()
    epoch: Sequence[int] = ()
    batch: Sequence[int] = ()
    events: list[Event] = field(default_factory=list)


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

    def past(self, point: Point) -> "Standing":
        """Return where training stands behind a bucket."""
        return Standing(
            self.batches + point.batches,
            self.items + point.items_seen,
            self.weight + point.weight,
            _latest(self.step, point.last_step),
            _latest(self.time, point.last_time),
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


def choose_width(epochs: Sequence[tuple[int, int, int]], max_points: int, least: int = 1) -> int | None:
    """Return the smallest bucket width from `least` on that draws these epochs in `max_points`.

    An epoch is (its records, the first of its batches that are drawn, the one behind the last).
    None: there are more epochs than points, and buckets must span epochs.
    """
    for width in WIDTHS if len(epochs) <= max_points else ():
        if width >= least and count_buckets(epochs, width) <= max_points:
            return width
    return None


def count_buckets(epochs: Sequence[tuple[int, int, int]], width: int) -> int:
    """Return how many buckets of a width these epochs have at most."""
    return sum(min(seen, (stop - 1) // width - first // width + 1) for seen, first, stop in epochs)


def choose_epoch_width(epochs: int, max_points: int) -> int:
    """Return how many epochs a bucket spans, a power of 4."""
    width = 1
    while -(-epochs // width) > max_points:
        width *= 4
    return width


def draw(
    points: Points,
    axis: str,
    standing: Standing,
    smoothing: Smoothing | None = None,
    so_far: Point = NOTHING,
) -> Curve:
    """Draw training buckets on an axis, from where training stood before the first of them.

    With `smoothing` the curve has a smoothed column, carried on from where that stood: a
    zoomed range is warmed up by `warm_up` with the buckets before it. `so_far` is what the
    first bucket's epoch held before it, for the running mean.
    Units: batches, items, units of weight, optimizer steps or unix seconds, as seen.
    """
    rows = points.rows
    if not rows:
        return Curve(smooth=None if smoothing is None else [])
    column = dict(zip(Point._fields, zip(*rows, strict=True), strict=True))
    xs = place(column, axis, standing)
    means = list(map(mean_of, *(column[name] for name in MEAN_OF)))
    smooth = None
    if smoothing is not None:
        told = zip(means, column["items"], column["counted"], strict=True)
        smooth = [smoothing.follow(mean, items or count) for mean, items, count in told]
    return Curve(
        x=xs,
        batch_view=means,
        running=[None] * len(rows) if points.spans_epochs else _run(rows, so_far),
        smooth=smooth,
        low=column["low"],
        high=column["high"],
        count=column["seen"],
        nonfinite=column["nonfinite"],
        epoch=column["epoch"],
        batch=column["last_batch"],
        events=[Event(xs[at], row.epoch, row.batch, row.evaluation.loss) for at, row in points.events],
    )


def place(column: Mapping[str, Sequence[Any]], axis: str, standing: Standing) -> list[float | None]:
    """Return where training stood behind each bucket; the columns of `Point`, by name."""
    start = standing.on(axis)
    if axis in ("step", "time"):
        found: list[float | None] = []
        for told in column["last_step" if axis == "step" else "last_time"]:
            start = _latest(start, told)
            found.append(start)
        return found
    added = column[{"batch": "batches", "items": "items_seen", "tokens": "weight"}[axis]]
    return list(accumulate(added, initial=start))[1:]


def warm_up(smoothing: Smoothing, points: Iterable[Point]) -> None:
    """Let a smoothing follow what came before a range, which then begins where the whole curve stands.

    Records of undeclared size count as one item each.
    """
    for point in points:
        smoothing.follow(point.mean, point.items or point.counted)


def _run(rows: Sequence[Point], so_far: Point) -> list[float | None]:
    """Return the mean of each row's epoch as far as the row, what came before the first one included."""
    found: list[float | None] = []
    epoch = so_far.epoch if so_far.seen else None
    weight, weighted = (so_far.weight, so_far.weight_low), (so_far.weighted, so_far.weighted_low)
    least, most, is_weighted = so_far.low, so_far.high, not so_far.unweighted
    for own, _, _, _, _, unweighted, _, _, _, w, w_low, wm, wm_low, _, _, low, high, *_ in rows:
        if own != epoch:
            epoch, least, most, is_weighted = own, low, high, not unweighted
            weight, weighted = (w, w_low), (wm, wm_low)
        else:
            is_weighted = is_weighted and not unweighted
            weight, weighted = add_sums(weight, (w, w_low)), add_sums(weighted, (wm, wm_low))
            least = least if low is None or (least is not None and least <= low) else low
            most = most if high is None or (most is not None and most >= high) else high
        found.append(mean_of(least, most, 0.0, 0, 0, weighted[0], weight[0]) if is_weighted else None)
    return found


def _latest(known: float | None, told: float | None) -> float | None:
    """Return the later of two positions: a rank that lags, or a clock set back, takes nothing back."""
    if told is None or known is None:
        return known if told is None else float(told)
    return max(known, float(told))
