"""Curves over batches, items, tokens, steps and time: which range, which width of bucket."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lossboard import wire
from lossboard_server.api.reader import RunReader, tell_epoch
from lossboard_server.api.sections import Section, begin_at, read_section
from lossboard_server.domain.course import Course, Leg, draw_places, place_passes
from lossboard_server.domain.curves import Curve, Standing, draw, warm_up
from lossboard_server.domain.descent import Mark
from lossboard_server.domain.points import NOTHING, Point, Points
from lossboard_server.domain.pyramid import SMALLEST_WIDTH
from lossboard_server.domain.smoothing import Smoothing
from lossboard_server.errors import FieldError, InvalidInput
from lossboard_server.store.laps import Lap
from lossboard_server.store.series import Series

WARM_UP = 10  # half-lives before a zoomed range: what came earlier weighs less than a thousandth
WARM_UP_POINTS = 5_000  # read for it at most: in coarser buckets the order of their batches is lost


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
        section, width = self._section(train)
        return Course.follow(self._read(train, section, width).rows, _mark(section, width).standing)

    def _draw_train(self, series: Series) -> Curve:
        wanted = self.reader.wanted
        self._check_tokens(series)
        section, width = self._section(series)
        points = self._read(series, section, width)
        mark = _mark(section, width)
        smoothing = None
        if wanted.half_life is not None:
            smoothing = Smoothing(wanted.half_life)
            warm_up(smoothing, self._read_before(series, section, mark, wanted.half_life))
        return draw(points, wanted.x, mark.standing, smoothing, mark.so_far)

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
        section = self._choose(series)
        return section, section.width(self.reader.wanted.points, self.reader.wanted.least_width)

    def _read(self, series: Series, section: Section, width: int | None) -> Points:
        # Not kept: 20 runs' buckets held until all are drawn cost the collector a third of the time.
        return read_section(self.reader.connection, series, section, self.reader.wanted.points, width)

    def _choose(self, series: Series) -> Section:
        """Choose what lies in the range asked for; on the axis of epochs all of it."""
        if series.name not in self._sections:
            self._sections[series.name] = self._find_section(series)
        return self._sections[series.name]

    def _find_section(self, series: Series) -> Section:
        wanted = self.reader.wanted
        standing = self.start.get(series.name, Standing())
        laps = self.reader.laps(series)
        if wanted.x == "epoch" or (wanted.first_x is None and wanted.last_x is None):
            return Section(standing, laps)
        ends = [standing]
        for lap in laps:
            ends.append(ends[-1].past(lap.point))
        inside = [n for n in range(len(laps)) if not self._misses(ends[n], ends[n + 1])]
        if not inside:
            return Section(standing)
        first, last = inside[0], inside[-1]
        section = Section(ends[first], laps[first : last + 1], first)
        if wanted.first_x is not None and _is_below(ends[first], wanted.x, wanted.first_x):
            section.marks = self._find(series, laps[first], ends[first], wanted.first_x)
        if wanted.last_x is not None and not _is_below(ends[last + 1], wanted.x, wanted.last_x):
            found = self._find(series, laps[last], ends[last], wanted.last_x)
            if found:
                section.stop = found[SMALLEST_WIDTH].batch + SMALLEST_WIDTH
        return section

    def _misses(self, start: Standing, end: Standing) -> bool:
        """Tell whether an epoch between these lies outside the range asked for."""
        wanted = self.reader.wanted
        begins, ends = start.on(wanted.x), end.on(wanted.x)
        if ends is None:
            return False
        is_late = wanted.first_x is not None and ends < wanted.first_x
        return is_late or (wanted.last_x is not None and begins is not None and begins > wanted.last_x)

    def _find(self, series: Series, lap: Lap, standing: Standing, x: float) -> dict[int, Mark]:
        axis = self.reader.wanted.x
        return begin_at(
            *(self.reader.connection, series, lap, standing),
            lambda _width, _point, behind: _is_below(behind, axis, x),
        )

    def _read_before(self, series: Series, section: Section, mark: Mark, half_life: float) -> Sequence[Point]:
        """Return what came before the range, as far back as a smoothed curve still feels it."""
        laps = self.reader.laps(series)
        items, first = mark.so_far.items, section.first
        while first > 0 and items < WARM_UP * half_life:
            first -= 1
            items += laps[first].point.items
        before = Section(Standing(), laps[first : section.first])
        if mark.batch:
            before = Section(Standing(), laps[first : section.first + 1], stop=mark.batch)
            if first == section.first:
                before.marks = self._skip(series, laps[first], mark, half_life)
        return self._read(series, before, before.width(WARM_UP_POINTS)).rows

    def _skip(self, series: Series, lap: Lap, mark: Mark, half_life: float) -> dict[int, Mark]:
        """Find where in the range's own epoch a smoothed curve begins to feel what came."""
        enough = mark.standing.items - WARM_UP * half_life
        return begin_at(
            *(self.reader.connection, series, lap),
            Standing(items=mark.standing.items - mark.so_far.items_seen),
            lambda _width, _point, behind: behind.items < enough,
        )

    def _check_tokens(self, series: Series) -> None:
        if self.reader.wanted.x == "tokens" and series.weight_unit != "tokens":
            run = self.reader.run.id
            message = f"{series.name} of run {run} counts {series.weight_unit}, not tokens; take x=items"
            raise InvalidInput(message, [FieldError("x", message)])


def _mark(section: Section, width: int | None) -> Mark:
    """Return where a section begins when it is drawn at a width; None: in whole epochs."""
    return Mark(0, section.before, NOTHING) if width is None else section.start(width)


def _is_below(standing: Standing, axis: str, x: float) -> bool:
    place = standing.on(axis)
    return place is not None and place < x
