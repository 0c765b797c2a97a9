"""Drawing the curves of a request: which series, which range, which width of bucket."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from lossboard import wire
from lossboard_server.domain.comparability import Facts
from lossboard_server.domain.curves import (
    Bucket,
    Curve,
    Standing,
    bucket_epochs,
    bucket_rows,
    choose_epoch_width,
    choose_width,
    draw,
    draw_passes,
)
from lossboard_server.domain.pyramid import SMALLEST_WIDTH
from lossboard_server.domain.summary import Summary, merge_all
from lossboard_server.domain.views import EPOCH_VIEWS
from lossboard_server.errors import FieldError, InvalidInput
from lossboard_server.store.buckets import read_buckets
from lossboard_server.store.progress import Progress, read_progress
from lossboard_server.store.reading import (
    TRAIN,
    Epoch,
    Series,
    read_epochs,
    read_extremes,
    read_lines,
    read_series,
    view,
)


@dataclass(slots=True)
class Request:
    """What curves are wanted: axis, views (empty: all that fit), points and range on the axis."""

    x: str
    views: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    points: int = 1000
    first_x: float | None = None
    last_x: float | None = None
    least_width: int = 1
    """In batches: a curve of every record beside one of buckets would look the noisier, and be a lie."""


@dataclass(slots=True)
class _Range:
    """Epochs of a series, their sums, and where training stood before the first of them."""

    before: Standing
    epochs: list[Epoch] = field(default_factory=list)
    totals: list[Summary] = field(default_factory=list)


@dataclass(slots=True)
class RunDrawing:
    """One run as its curves are drawn: its series read once, whatever is asked of them."""

    connection: Connection
    run: Any
    wanted: Request
    all_series: list[Series] = field(init=False)
    ranks: Progress = field(init=False)
    _epochs: dict[str, list[Epoch]] = field(default_factory=dict)
    _drawn: dict[str, Curve] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.all_series = read_series(self.connection, self.run.key)
        self.ranks = read_progress(self.connection, self.run)

    def curves(self) -> Iterator[dict[str, Any]]:
        """Yield each wanted series of this run as the wire's columns."""
        for series in self.all_series:
            if self._is_wanted(series):
                yield self._epoch_curve(series) if self.wanted.x == "epoch" else self._record_curve(series)

    def width(self) -> int:
        """Return the bucket width, in batches, that the longest of the wanted training series needs."""
        widths = [
            choose_width(self._choose(series).totals, self.wanted.points) or 1
            for series in self.all_series
            if series.split == TRAIN and self._is_wanted(series)
        ]
        return max(widths, default=1)

    def facts(self) -> list[Facts]:
        """Tell what comparing this run's first wanted series needs to know."""
        chosen = [series for series in self.all_series if self._is_wanted(series)]
        if not chosen:
            return []
        series = chosen[0]
        epochs = self._read(series)
        complete = [epoch for epoch in epochs if self.ranks.is_complete(epoch.epoch)]
        newest = view(self.connection, series, (complete or epochs)[-1]) if epochs else None
        merged = newest.merged if newest else Summary()
        other = next((s for s in chosen if s.split != series.split and self._read(s)), None)
        return [
            Facts(
                run=self.run.id,
                name=self.run.name,
                series=series.name,
                reduction=series.reduction.wire_name,
                weight_unit=series.weight_unit,
                weight_source=series.weight_source,
                batch_size=merged.batch_size,
                batches=newest.global_batches if newest and complete else None,
                items=merged.items_seen if complete else None,
                other_split=other.split if other else "",
                other_batches=sum(rank.seen for rank in self._read(other)[-1].ranks.values())
                if other
                else None,
                is_declared=all(epoch.is_declared for epoch in epochs),
                weight_differs=bool(merged.items)
                and abs(merged.weight[0] - merged.items) > 1e-9 * merged.items,
            )
        ]

    def _read(self, series: Series) -> list[Epoch]:
        if series.name not in self._epochs:
            self._epochs[series.name] = read_epochs(self.connection, series)
        return self._epochs[series.name]

    def _about(self, series: Series, epochs: Sequence[Epoch]) -> dict[str, Any]:
        sizes = [rank.batch_size for epoch in epochs[-1:] for rank in epoch.ranks.values() if rank.batch_size]
        return {
            "run": self.run.id,
            "name": self.run.name,
            "series": series.name,
            "reduction": series.reduction.wire_name,
            "weight_unit": series.weight_unit,
            "weight_source": series.weight_source,
            "batch_size": max(sizes, default=None),
            "declared": all(epoch.is_declared for epoch in epochs),
            "records": sum(rank.seen for epoch in epochs for rank in epoch.ranks.values()),
        }

    def _epoch_curve(self, series: Series) -> dict[str, Any]:
        epochs = self._read(series)
        drawn = [view(self.connection, series, epoch) for epoch in epochs]
        passes: dict[int, int] = {}
        for epoch in epochs:
            passes[epoch.epoch] = passes.get(epoch.epoch, 0) + 1
        numbers: dict[int, int] = {}
        xs = []
        for epoch in epochs:
            number = numbers[epoch.epoch] = numbers.get(epoch.epoch, 0) + 1
            xs.append(max(epoch.epoch, 0) - 1 + number / passes[epoch.epoch])
        ends = self._ends(self._train_of(series) or series, "items")
        return self._about(series, epochs) | {
            "x": xs,
            "views": {
                name: [views.value(name) for views in drawn]
                for name in EPOCH_VIEWS
                if not self.wanted.views or name in self.wanted.views
            },
            "low": None,
            "high": None,
            "count": [views.merged.seen for views in drawn],
            "nonfinite": [views.merged.nonfinite for views in drawn],
            "epoch": [_told(epoch.epoch) for epoch in epochs],
            "batch": [views.merged.last_batch for views in drawn],
            "items": [ends.get(epoch.epoch) for epoch in epochs],
            "complete": [self.ranks.is_complete(epoch.epoch) for epoch in epochs],
            "events": [],
            "shown": len(epochs),
        }

    def _record_curve(self, series: Series) -> dict[str, Any]:
        curve = self._draw(series)
        columns = {"batch": curve.batch_view, "running": curve.running}
        return self._about(series, self._read(series)) | {
            "x": curve.x,
            "views": {
                name: values
                for name, values in columns.items()
                if not self.wanted.views or name in self.wanted.views
            },
            "low": curve.low,
            "high": curve.high,
            "count": curve.count,
            "nonfinite": curve.nonfinite,
            "epoch": [_told(epoch) for epoch in curve.epoch],
            "batch": curve.batch,
            "events": [
                {"x": e.x, "epoch": _told(e.epoch), "batch": e.batch, "loss": wire.encode_number(e.loss)}
                for e in curve.events
            ],
            "shown": len(curve.x),
        }

    def _draw(self, series: Series) -> Curve:
        if series.name not in self._drawn:
            is_train = series.split == TRAIN
            self._drawn[series.name] = self._draw_train(series) if is_train else self._draw_passes(series)
        return self._drawn[series.name]

    def _is_wanted(self, series: Series) -> bool:
        return not self.wanted.series or series.name in self.wanted.series

    def _draw_train(self, series: Series) -> Curve:
        self._check_tokens(series)
        chosen = self._choose(series)
        if not chosen.epochs:
            return Curve()
        return draw(self._bucket(series, chosen.epochs, chosen.totals), self.wanted.x, chosen.before)

    def _choose(self, series: Series) -> "_Range":
        """Choose the epochs that lie in the range asked for."""
        standing = Standing()
        chosen = _Range(standing)
        for epoch in self._read(series):
            total = merge_all(epoch.ranks.values())
            start, standing = standing, standing.after(total, len(epoch.ranks))
            if self._overlaps(start.on(self.wanted.x), standing.on(self.wanted.x)):
                chosen.before = chosen.before if chosen.epochs else start
                chosen.epochs.append(epoch)
                chosen.totals.append(total)
        return chosen

    def _bucket(self, series: Series, epochs: list[Epoch], totals: list[Summary]) -> Iterable[Bucket]:
        """Make the buckets of these epochs that fit the points asked for."""
        width = choose_width(totals, self.wanted.points, self.wanted.least_width)
        if width is None:
            whole = {
                (epoch.epoch, epoch.pass_no): Bucket(epoch.epoch, total, len(epoch.ranks))
                for epoch, total in zip(epochs, totals, strict=True)
            }
            for row in read_extremes(self.connection, series, epochs):
                whole[row.epoch, row.pass_no].note(row)
            return bucket_epochs(whole.values(), choose_epoch_width(len(epochs), self.wanted.points))
        if width >= SMALLEST_WIDTH:
            return read_buckets(self.connection, series, epochs, width)
        ranks = {(epoch.epoch, epoch.pass_no): len(epoch.ranks) for epoch in self._read(series)}
        lines = read_lines(self.connection, series, epochs[0].epoch, epochs[-1].epoch)
        return bucket_rows(lines, width, ranks)

    def _draw_passes(self, series: Series) -> Curve:
        train = self._train_of(series)
        passes = [(epoch.epoch, merge_all(epoch.ranks.values())) for epoch in self._read(series)]
        if train is None:
            return draw_passes(passes, self.wanted.x, None, self._ends(series, self.wanted.x))
        return draw_passes(passes, self.wanted.x, self._draw(train), self._ends(train, self.wanted.x))

    def _ends(self, series: Series, axis: str) -> dict[int, float]:
        """Map each epoch to where on the axis it ended."""
        ends = {}
        standing = Standing()
        for epoch in self._read(series):
            standing = standing.after(merge_all(epoch.ranks.values()), len(epoch.ranks))
            x = standing.on(axis)
            if x is not None:
                ends[epoch.epoch] = x
        return ends

    def _train_of(self, series: Series) -> Series | None:
        trains = [other for other in self.all_series if other.split == TRAIN]
        same = [other for other in trains if other.loss_name == series.loss_name]
        return next(iter(same or trains), None)

    def _overlaps(self, start: float | None, end: float | None) -> bool:
        if end is None:
            return True
        is_late = self.wanted.first_x is not None and end < self.wanted.first_x
        is_early = self.wanted.last_x is not None and start is not None and start > self.wanted.last_x
        return not (is_late or is_early)

    def _check_tokens(self, series: Series) -> None:
        if self.wanted.x == "tokens" and series.weight_unit != "tokens":
            message = (
                f"{series.name} of run {self.run.id} counts {series.weight_unit}, not tokens; take x=items"
            )
            raise InvalidInput(message, [FieldError("x", message)])


def _told(epoch: int) -> int | None:
    return epoch if epoch >= 0 else None
