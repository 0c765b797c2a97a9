"""Curves over batches, items, tokens, steps and time: which range, which width of bucket."""

from dataclasses import dataclass, field
from typing import Any

from lossboard import wire
from lossboard_server.api.following import CannotFollowError, Follow
from lossboard_server.api.ranges import find_section
from lossboard_server.api.reader import RunReader, tell_epoch
from lossboard_server.api.sections import Section, read_section
from lossboard_server.api.warming import read_before
from lossboard_server.domain.course import Course, Leg, draw_places, find_times, place_passes
from lossboard_server.domain.curves import Curve, Standing, draw, warm_up
from lossboard_server.domain.points import NOTHING, Point, Points
from lossboard_server.domain.smoothing import Smoothing
from lossboard_server.errors import FieldError, InvalidInput
from lossboard_server.store.series import Series


@dataclass(slots=True)
class RecordCurves:
    """The curves of one run over an axis of what was seen."""

    reader: RunReader
    start: dict[str, Standing] = field(default_factory=dict)
    """Where training stood before a series' first epoch, where that is not the run's beginning."""
    _sections: dict[str, Section] = field(default_factory=dict)

    def width(self) -> int:
        """Return the bucket width, in batches, that the longest of the wanted training series needs."""
        widths = [
            self._choose(series).width(self.reader.wanted.points) or 1
            for series in self.reader.wanted_series
            if series.is_train
        ]
        return max(widths, default=1)

    def count(self, series: Series) -> int:
        """Return how many points a training series' curve has at most."""
        section, width = self._section(series)
        return len(section.laps) if width is None else section.count(width)

    def draw_changed(self, series: Series) -> dict[str, Any] | None:
        """Return a series' curve; for a follower its changed end, None where it has not changed.

        Raises: CannotFollowError.
        """
        follow = self.reader.follow
        return None if follow is not None and not self._has_changed(series, follow) else self.draw(series)

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
            "from_x": None if self.reader.follow is None else self._cut(series, curve),
        }

    def _has_changed(self, series: Series, follow: Follow) -> bool:
        mark = follow.marks.get(series.key)
        if series.is_train:
            return mark is not None
        train = self.reader.train_of(series)
        if mark is not None or (
            train is not None and follow.marks.get(train.key) and self._moves(series, train)
        ):
            raise CannotFollowError  # a pass may move others of its epoch
        return False

    def _moves(self, series: Series, train: Series) -> bool:
        """Tell whether passes of validation may stand elsewhere for what training did since."""
        section, width = self._section(train)
        if not section.laps:
            return False
        begin = next((point.first_time for point in self._read(train, section, width).rows), None)
        legs = self.reader.legs(train)
        epochs: dict[int, list[Point]] = {}
        for lap in self.reader.laps(series):
            if lap.width == 1 and lap.place[0] >= section.laps[0].place[0]:
                epochs.setdefault(lap.place[0], []).append(lap.point)
            elif lap.width > 1 and lap.place[0] > section.laps[0].place[0]:
                return True
        for epoch, passes in epochs.items():
            times = find_times(legs[epoch], passes) if epoch in legs else None
            if begin is None or times is None or times[-1] >= begin:
                return True
        return False

    def _cut(self, series: Series, curve: Curve) -> float | None:
        """Return from where on a page replaces what it has; None: from its beginning.

        Raises: CannotFollowError where points before the cut share its place.
        """
        section, width = self._section(series)
        before = section.start(width).standing.on(self.reader.wanted.x)
        if not section.earlier and not section.start(width).batch:
            return None
        first = curve.x[0] if curve.x else None
        if first is None or before is None or not before < first:
            raise CannotFollowError
        return first

    def course(self, train: Series) -> Course:
        """Return the course of a training series over the range asked for."""
        section, width = self._section(train)
        return Course.follow(self._read(train, section, width).rows, section.start(width).standing)

    def _draw_train(self, series: Series) -> Curve:
        wanted = self.reader.wanted
        self._check_tokens(series)
        section, width = self._section(series)
        points = self._read(series, section, width)
        smoothing = None
        if wanted.half_life is not None:
            smoothing = Smoothing(wanted.half_life)
            warm_up(smoothing, read_before(self.reader, series, section, width, wanted.half_life))
        return draw(points, wanted.x, section.start(width).standing, smoothing, section.so_far(width))

    def _draw_passes(self, series: Series) -> Curve:
        wanted, train = self.reader.wanted, self.reader.train_of(series)
        passes = [lap.point for lap in self.reader.laps(series)]
        if train is None:
            # Nothing trained: a pass ends where the data that it went through end.
            legs = {
                epoch: Leg(leg.start, leg.end, NOTHING, leg.batches)
                for epoch, leg in self.reader.legs(series).items()
            }
            places = place_passes(passes, legs, lambda: Course(Standing()))
        else:
            self._check_tokens(train)
            places = place_passes(passes, self.reader.legs(train), lambda: self.course(train))
        return draw_places(passes, places, wanted.x, wanted.half_life)

    def _section(self, series: Series) -> tuple[Section, int | None]:
        section, least = self._choose(series), self.reader.wanted.least_width
        width = section.width(self.reader.wanted.points, least)
        if self.reader.follow is not None and width not in (None, least):
            raise CannotFollowError  # more is new than a curve has points
        return section, width

    def _read(self, series: Series, section: Section, width: int | None) -> Points:
        # Not kept: 20 runs' buckets held until all are drawn cost the collector a third of the time.
        return read_section(self.reader.connection, series, section, self.reader.wanted.points, width)

    def _choose(self, series: Series) -> Section:
        """Choose what lies in the range asked for; on the axis of epochs all of it."""
        if series.name not in self._sections:
            start = self.start.get(series.name, Standing())
            self._sections[series.name] = find_section(self.reader, series, start)
        return self._sections[series.name]

    def _check_tokens(self, series: Series) -> None:
        if self.reader.wanted.x == "tokens" and series.weight_unit != "tokens":
            run = self.reader.run.id
            message = f"{series.name} of run {run} counts {series.weight_unit}, not tokens; take x=items"
            raise InvalidInput(message, [FieldError("x", message)])
