"""Curves of training over batches, items, tokens, steps and time: which range, which width of bucket."""

from dataclasses import dataclass, field
from typing import Any

from lossboard import wire
from lossboard_server.api.views.following import CannotFollowError
from lossboard_server.api.views.ranges import find_section
from lossboard_server.api.views.reader import RunReader, tell_epoch
from lossboard_server.api.views.sections import Section, read_section
from lossboard_server.api.views.warming import read_before
from lossboard_server.domain.course import Course
from lossboard_server.domain.curves import Curve, Standing, draw, warm_up
from lossboard_server.domain.points import Points
from lossboard_server.domain.smoothing import Smoothing
from lossboard_server.errors import FieldError, InvalidInput
from lossboard_server.store.reading.series import Series


@dataclass(slots=True)
class RecordCurves:
    """The curves of one run's training over an axis of what was seen."""

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
        """Return how many points a training series' curve has at most, for a follower with what it has.

        Where not all of its epochs were read one by one, those of the last answer count on: the
        tail, of which it has a part already, is counted twice then.
        """
        section, width = self._section(series)
        follow, laps = self.reader.follow, self.reader.laps(series)
        if follow is None:
            return len(section.laps) if width is None else section.count(width)
        if width is None:
            return follow.seen.points  # its span says whether wider ones are due
        if all(lap.width == 1 for lap in laps):
            return Section(laps=laps).count(width)
        return follow.seen.points + section.count(width)

    def draw_changed(self, series: Series) -> dict[str, Any] | None:
        """Return a series' curve; for a follower its changed end, None where it has not changed.

        Raises: CannotFollowError.
        """
        follow = self.reader.follow
        return None if follow is not None and follow.marks.get(series.key) is None else self.draw(series)

    def draw(self, series: Series) -> dict[str, Any]:
        """Return a series' curve as the wire's columns."""
        self.check_tokens(series)
        wanted, (section, width) = self.reader.wanted, self._section(series)
        points = self._read(series, section, width)
        smoothing = None
        if wanted.half_life is not None:
            smoothing = Smoothing(wanted.half_life)
            warm_up(smoothing, read_before(self.reader, series, section, width, wanted.half_life))
        curve = draw(points, wanted.x, section.start(width).standing, smoothing, section.so_far(width))
        cut = None if self.reader.follow is None else self._cut(series, curve)
        return tell_curve(self.reader, series, curve, cut)

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
        """Return the course of a training series, over the range asked for as finely as that is drawn.

        What lies beside the range has its place too: a line leads there.
        """
        section, wanted = self._choose(train), self.reader.wanted
        course = self.follow_course(train, section)
        if wanted.x == "epoch" or (wanted.first_x is None and wanted.last_x is None):
            return course
        whole = Section(self.start.get(train.name, Standing()), self.reader.laps(train))
        return self.follow_course(train, whole).refined(course)

    def follow_course(self, train: Series, section: Section) -> Course:
        """Return the course of a part of a training series, at the width at which it is drawn."""
        width = self._fit(section)
        return Course.follow(self._read(train, section, width).rows, section.start(width).standing)

    def begin(self, train: Series) -> float | None:
        """Return when what is drawn of a training series began; None where nothing tells."""
        section, width = self._section(train)
        rows = self._read(train, section, width).rows if section.laps else []
        return rows[0].first_time if rows else None

    def check_tokens(self, series: Series) -> None:
        """Refuse the axis of tokens for a series that counts something else.

        Raises: InvalidInput.
        """
        if self.reader.wanted.x == "tokens" and series.weight_unit != "tokens":
            run = self.reader.run.id
            message = f"{series.name} of run {run} counts {series.weight_unit}, not tokens; take x=items"
            raise InvalidInput(message, [FieldError("x", message)])

    def _section(self, series: Series) -> tuple[Section, int | None]:
        section = self._choose(series)
        return section, self._fit(section)

    def _fit(self, section: Section) -> int | None:
        """Return the width at which a section is drawn; None: its epochs are merged."""
        least = self.reader.wanted.least_width
        width = section.width(self.reader.wanted.points, least)
        if self.reader.follow is not None and width not in (None, least):
            raise CannotFollowError  # more is new than a curve has points
        return width

    def _read(self, series: Series, section: Section, width: int | None) -> Points:
        # Not kept: 20 runs' buckets held until all are drawn cost the collector a third of the time.
        return read_section(self.reader.connection, series, section, self.reader.wanted.points, width)

    def _choose(self, series: Series) -> Section:
        """Choose what lies in the range asked for; on the axis of epochs all of it."""
        if series.name not in self._sections:
            start = self.start.get(series.name, Standing())
            self._sections[series.name] = find_section(self.reader, series, start)
        return self._sections[series.name]


def tell_curve(reader: RunReader, series: Series, curve: Curve, from_x: float | None) -> dict[str, Any]:
    """Return a curve as the wire's columns; a page replaces what it has from `from_x` on, None: all."""
    columns = {"batch": curve.batch_view, "running": curve.running}
    if curve.smooth is not None:
        columns["smooth"] = curve.smooth
    return reader.about(series) | {
        "x": curve.x,
        "views": reader.wanted.select(columns),
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
        "from_x": from_x,
    }
