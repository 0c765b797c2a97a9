"""Curves over batches, items, tokens, steps and time: which range, which width of bucket."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lossboard import wire
from lossboard_server.api.reader import RunReader, tell_epoch
from lossboard_server.domain.course import Course, Leg, Pass, draw_places, place_passes
from lossboard_server.domain.curves import (
    Bucket,
    Curve,
    Standing,
    bucket_epochs,
    bucket_rows,
    choose_epoch_width,
    choose_width,
    draw,
    warm_up,
)
from lossboard_server.domain.pyramid import SMALLEST_WIDTH
from lossboard_server.domain.smoothing import Smoothing
from lossboard_server.domain.summary import Summary, merge_all
from lossboard_server.errors import FieldError, InvalidInput
from lossboard_server.store.buckets import read_buckets
from lossboard_server.store.reading import Epoch
from lossboard_server.store.rows import read_extremes, read_lines
from lossboard_server.store.series import Series

WARM_UP = 10  # half-lives before a zoomed range: what came earlier weighs less than a thousandth


@dataclass(slots=True)
class _Range:
    """Epochs of a series, their sums, and where training stood before the first of them."""

    before: Standing
    first: int = 0
    """How many epochs lie before it."""
    epochs: list[Epoch] = field(default_factory=list)
    totals: list[Summary] = field(default_factory=list)


@dataclass(slots=True)
class RecordCurves:
    """The curves of one run over an axis of what was seen."""

    reader: RunReader
    start: dict[str, Standing] = field(default_factory=dict)
    """Where training stood before a series' first epoch, where that is not the run's beginning."""
    _chosen: dict[str, _Range] = field(default_factory=dict)

    def width(self) -> int:
        """Return the bucket width, in batches, that the longest of the wanted training series needs."""
        widths = [
            choose_width(self._choose(series).totals, self.reader.wanted.points) or 1
            for series in self.reader.wanted_series
            if series.is_train
        ]
        return max(widths, default=1)

    def draw(self, series: Series) -> dict[str, Any]:
        """Return a series' curve as the wire's columns."""
        wanted = self.reader.wanted
        curve = self._draw_train(series) if series.is_train else self._draw_passes(series)
        columns = {"batch": curve.batch_view, "running": curve.running}
        if curve.smooth is not None:
            columns["smooth"] = curve.smooth
        return self.reader.about(series) | {
            "x": curve.x,
            "views": wanted.select(columns),
            "low": curve.low,
            "high": curve.high,
            "count": curve.count,
            "nonfinite": curve.nonfinite,
            "epoch": [tell_epoch(epoch) for epoch in curve.epoch],
            "batch": curve.batch,
            "events": [
                {"x": e.x, "epoch": tell_epoch(e.epoch), "batch": e.batch, "loss": wire.encode_number(e.loss)}
                for e in curve.events
            ],
            "shown": len(curve.x),
        }

    def course(self, train: Series) -> Course:
        """Return the course of a training series over the range asked for."""
        return Course.follow(self._bucket_range(train), self._choose(train).before)

    def _draw_train(self, series: Series) -> Curve:
        wanted = self.reader.wanted
        self._check_tokens(series)
        buckets = self._bucket_range(series)
        smoothing = None
        if wanted.half_life is not None:
            smoothing = Smoothing(wanted.half_life)
            warm_up(smoothing, self._read_before(series, wanted.half_life))
        return draw(buckets, wanted.x, self._choose(series).before, smoothing)

    def _draw_passes(self, series: Series) -> Curve:
        wanted, train = self.reader.wanted, self.reader.train_of(series)
        passes = [Pass(epoch.epoch, merge_all(epoch.ranks.values())) for epoch in self.reader.epochs(series)]
        if train is None:
            # Nothing trained: a pass ends where the data that it went through end.
            legs = {
                epoch: Leg(leg.start, leg.end, Summary(), leg.batches)
                for epoch, leg in self.reader.legs(series).items()
            }
            places = place_passes(passes, legs, lambda: Course(Standing()))
        else:
            self._check_tokens(train)
            places = place_passes(passes, self.reader.legs(train), lambda: self.course(train))
        return draw_places(passes, places, wanted.x, wanted.half_life)

    def _choose(self, series: Series) -> _Range:
        """Choose the epochs that lie in the range asked for; on the axis of epochs all of them."""
        if series.name in self._chosen:
            return self._chosen[series.name]
        axis = self.reader.wanted.x
        standing = self.start.get(series.name, Standing())
        chosen = self._chosen[series.name] = _Range(standing)
        for number, epoch in enumerate(self.reader.epochs(series)):
            total = merge_all(epoch.ranks.values())
            start, standing = standing, standing.after(total, len(epoch.ranks))
            if axis == "epoch" or self._overlaps(start.on(axis), standing.on(axis)):
                if not chosen.epochs:
                    chosen.first, chosen.before = number, start
                chosen.epochs.append(epoch)
                chosen.totals.append(total)
        return chosen

    def _overlaps(self, start: float | None, end: float | None) -> bool:
        wanted = self.reader.wanted
        if end is None:
            return True
        is_late = wanted.first_x is not None and end < wanted.first_x
        is_early = wanted.last_x is not None and start is not None and start > wanted.last_x
        return not (is_late or is_early)

    def _bucket_range(self, series: Series) -> list[Bucket]:
        # Not kept: 20 runs' buckets held until all are drawn cost the collector a third of the time.
        chosen = self._choose(series)
        return self._read_buckets(series, chosen.epochs, chosen.totals, self.reader.wanted.least_width)

    def _read_buckets(
        self, series: Series, epochs: Sequence[Epoch], totals: Sequence[Summary], least: int
    ) -> list[Bucket]:
        """Make the buckets of these epochs that fit the points asked for."""
        connection, points = self.reader.connection, self.reader.wanted.points
        if not epochs:
            return []
        width = choose_width(totals, points, least)
        if width is None:
            whole = {
                epoch.place: Bucket(epoch.epoch, total, len(epoch.ranks))
                for epoch, total in zip(epochs, totals, strict=True)
            }
            extreme = {epoch.place for epoch in epochs if epoch.has_nonfinite}
            for row in read_extremes(connection, series, extreme):
                whole[row.epoch, row.pass_no].note(row)
            return list(bucket_epochs(whole.values(), choose_epoch_width(len(epochs), points)))
        if width >= SMALLEST_WIDTH:
            return read_buckets(connection, series, epochs, width)
        ranks = {epoch.place: len(epoch.ranks) for epoch in self.reader.epochs(series)}
        lines = read_lines(connection, series, epochs[0].epoch, epochs[-1].epoch)
        return list(bucket_rows(lines, width, ranks))

    def _read_before(self, series: Series, half_life: float) -> list[Summary]:
        """Return what came before the range, as far back as a smoothed curve still feels it."""
        epochs: list[Epoch] = []
        items = 0
        for epoch in reversed(self.reader.epochs(series)[: self._choose(series).first]):
            if items >= WARM_UP * half_life:
                break
            epochs.append(epoch)
            items += sum(rank.items for rank in epoch.ranks.values())
        epochs.reverse()
        totals = [merge_all(epoch.ranks.values()) for epoch in epochs]
        return [bucket.summary for bucket in self._read_buckets(series, epochs, totals, 1)]

    def _check_tokens(self, series: Series) -> None:
        if self.reader.wanted.x == "tokens" and series.weight_unit != "tokens":
            run = self.reader.run.id
            message = f"{series.name} of run {run} counts {series.weight_unit}, not tokens; take x=items"
            raise InvalidInput(message, [FieldError("x", message)])
