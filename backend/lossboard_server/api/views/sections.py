"""Which part of a training a curve shows: whole epochs between two that may be cut, read at one width."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

from sqlalchemy import Connection

from lossboard_server.domain.attempts import ENDLESS
from lossboard_server.domain.curves import Standing, choose_epoch_width, choose_width, count_buckets
from lossboard_server.domain.descent import Mark, descend
from lossboard_server.domain.points import (
    MAX_EVENTS,
    NOTHING,
    Point,
    Points,
    bucket_rows,
    group_epochs,
    merge_all_points,
)
from lossboard_server.domain.pyramid import SMALLEST_WIDTH
from lossboard_server.domain.summary import Row
from lossboard_server.store.reading.buckets import ALL, note_extremes, read_buckets, read_points
from lossboard_server.store.reading.laps import Lap
from lossboard_server.store.reading.rows import read_batches, read_lines
from lossboard_server.store.reading.series import Series


@dataclass(slots=True)
class Section:
    """Laps of a training series, the first from a batch on and the last up to one."""

    before: Standing = field(default_factory=Standing)
    """Where training stood before the first of these laps."""
    laps: Sequence[Lap] = ()
    earlier: Sequence[Lap] = ()
    """The laps before it."""
    marks: dict[int, Mark] = field(default_factory=dict)
    """Where it begins in the first lap, for each width that has buckets there."""
    stop: int = ENDLESS
    """The batch of the last lap at which it ends."""
    span: int | None = None
    """How many epochs are one point, where it holds all epochs of each; None: as many as there must be."""

    def start(self, width: int | None) -> Mark:
        """Return where it begins when it is drawn at this width; None: in whole epochs."""
        found = None if width is None else self.marks.get(max(width, SMALLEST_WIDTH))
        return found or Mark(0, self.before, NOTHING)

    def so_far(self, width: int | None) -> Point:
        """Return what its first epoch held before it, the passes before included."""
        epoch = self.laps[0].place[0] if self.laps else None
        passes = takewhile(lambda lap: lap.place[0] == epoch, reversed(self.earlier))
        return merge_all_points([*(lap.point for lap in passes), self.start(width).so_far])

    def batches(self, number: int, width: int) -> range:
        """Return which batches of one of its laps it holds."""
        first = self.start(width).batch if number == 0 else 0
        return range(first, self.stop if number == len(self.laps) - 1 else ENDLESS)

    def width(self, points: int, least: int = 1) -> int | None:
        """Return the smallest width that draws it in so many points; None: its epochs must be merged."""
        if any(lap.width > 1 for lap in self.laps):
            return None
        return choose_width(self._sizes(), points, least)

    def count(self, width: int) -> int:
        """Return how many buckets of a width it has at most."""
        return count_buckets(self._sizes(), width)

    def _sizes(self) -> list[tuple[int, int, int]]:
        """Return of each lap its records, its first batch and the one behind its last."""
        stops = [lap.point.last_batch + 1 for lap in self.laps]
        if stops:
            stops[-1] = min(stops[-1], self.stop)
        sizes = [(lap.point.seen, 0, stop) for lap, stop in zip(self.laps, stops, strict=True)]
        if sizes:
            sizes[0] = (sizes[0][0], self.start(SMALLEST_WIDTH).batch, sizes[0][2])
        return sizes


def begin_at(
    connection: Connection,
    series: Series,
    lap: Lap,
    standing: Standing,
    is_before: Callable[[int, Point, Standing], bool],
) -> dict[int, Mark]:
    """Find where in a lap a place lies, for each width that has buckets there."""
    if lap.width > 1:
        return {}
    return descend(
        lambda width, batches: read_points(connection, series, [lap], width, batches),
        max(part.reach for part in lap.parts),
        standing,
        is_before,
    )


def read_section(
    connection: Connection, series: Series, section: Section, points: int, width: int | None
) -> Points:
    """Read a section in buckets of a width; None: in buckets of epochs, as many as fit `points`."""
    if not section.laps:
        return Points()
    if width is None:
        return _merge_epochs(connection, series, section, points)
    if width < SMALLEST_WIDTH:
        return _read_rows(connection, series, section, width)
    found = Points()
    for batches, laps in _split(section, width):
        part = read_buckets(connection, series, laps, width, batches)
        found.events += [(at + len(found.rows), row) for at, row in part.events]
        found.rows += part.rows
    del found.events[:-MAX_EVENTS]
    return found


def _split(section: Section, width: int) -> Iterator[tuple[range, Sequence[Lap]]]:
    """Yield the laps that are read together, whole ones at once, with the batches that are wanted of them.

    Laps of the epochs of those that are cut stand alone: a stretch is read by its epochs.
    """
    laps = section.laps
    first, last = 0, len(laps)
    if section.start(width).batch > 0:
        first = _count_alike(laps)
    if section.stop < ENDLESS:
        last = max(first, last - _count_alike(laps[::-1]))
    for number, lap in enumerate(laps[:first]):
        yield section.batches(number, width), [lap]
    if last > first:
        yield ALL, laps[first:last]
    for number in range(last, len(laps)):
        yield section.batches(number, width), [laps[number]]


def _count_alike(laps: Sequence[Lap]) -> int:
    """Count the laps at the front that are of one epoch."""
    return next((n for n, lap in enumerate(laps) if lap.place[0] != laps[0].place[0]), len(laps))


def _read_rows(connection: Connection, series: Series, section: Section, width: int) -> Points:
    laps = section.laps
    ranks = {lap.place: lap.ranks for lap in laps}

    def rows() -> Iterator[Row]:
        for batches, group in _split(section, width):
            if len(group) > 1:
                lines = read_lines(connection, series, group[0].place[0], group[-1].place[0])
                # Of the first and the last epoch some passes may lie outside.
                yield from (row for row in lines if (row.epoch, row.pass_no) in ranks)
            else:
                yield from read_batches(connection, series, group[0].place, batches)

    return bucket_rows(rows(), width, ranks)


def choose_span(laps: Sequence[Lap], points: int) -> int:
    """Return how many epochs are one point where there are more of them than points."""
    return max(choose_epoch_width(len(laps), points), *(lap.width for lap in laps))


def _merge_epochs(connection: Connection, series: Series, section: Section, points: int) -> Points:
    laps = section.laps
    span = section.span or choose_span(laps, points)
    found = Points(list(group_epochs((lap.point for lap in laps), span)), spans_epochs=span > 1)
    last = {point.epoch // span: (point.epoch, point.pass_no, point.number) for point in found.rows}
    note_extremes(connection, series, laps, found, lambda epoch, *_: last[epoch // span])
    return found
