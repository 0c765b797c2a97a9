"""Finding which part of a training is drawn: what lies in a range of an axis, or the end that is new."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lossboard_server.api.views.following import CannotFollowError, Follow
from lossboard_server.api.views.reader import RunReader
from lossboard_server.api.views.sections import Section, begin_at, choose_span
from lossboard_server.domain.curves import Standing, choose_epoch_width
from lossboard_server.domain.descent import Mark
from lossboard_server.domain.pyramid import SMALLEST_WIDTH
from lossboard_server.store.reading.laps import Lap, read_laps
from lossboard_server.store.reading.series import Series
from lossboard_server.store.reading.spans import read_spans


def find_section(reader: RunReader, series: Series, standing: Standing) -> Section:
    """Choose what of a training series is drawn, from where it stood before its first epoch.

    Raises: CannotFollowError.
    """
    finder = _Finder(reader, series)
    laps = reader.laps(series)
    if reader.follow is not None:
        return finder.find_end(reader.follow, laps, standing)
    wanted = reader.wanted
    if wanted.x == "epoch" or (wanted.first_x is None and wanted.last_x is None):
        return Section(standing, laps)
    return finder.find_range(laps, standing)


@dataclass(slots=True)
class _Finder:
    reader: RunReader
    series: Series

    def find_range(self, laps: Sequence[Lap], standing: Standing, earlier: Sequence[Lap] = ()) -> Section:
        """Choose what lies in the range asked for, read as finely as there is room for."""
        wanted = self.reader.wanted
        ends = _add_up(standing, laps)
        inside = [n for n in range(len(laps)) if not self._misses(ends[n], ends[n + 1])]
        if not inside:
            return Section(standing)
        first, last = inside[0], inside[-1]
        section = Section(ends[first], laps[first : last + 1], [*earlier, *laps[:first]])
        finer = self._refine(section.laps)
        if finer is not None:
            return self.find_range(finer, section.before, section.earlier)
        if section.width(wanted.points) is None:
            span = choose_span(section.laps, wanted.points)
            first, last = _widen(laps, first, last, span)
            return Section(ends[first], laps[first : last + 1], [*earlier, *laps[:first]], span=span)
        if wanted.first_x is not None and _is_below(ends[first], wanted.x, wanted.first_x):
            section.marks = self._find(laps[first], ends[first], _is_below, wanted.first_x)
        if wanted.last_x is not None and not _is_upto(ends[last + 1], wanted.x, wanted.last_x):
            found = self._find(laps[last], ends[last], _is_upto, wanted.last_x)
            if found:
                section.stop = found[SMALLEST_WIDTH].batch + SMALLEST_WIDTH
        return section

    def find_end(self, follow: Follow, laps: list[Lap], standing: Standing) -> Section:
        """Choose what a follower is told: from the bucket before the first that changed.

        That one has not changed, so that everything the page has from its place on is replaced.
        """
        if self.reader.wanted.x == "epoch":
            at = next((n for n, lap in enumerate(laps) if lap.place[0] >= follow.first), len(laps))
            return Section(_add_up(standing, laps[:at])[-1], laps[at:], laps[:at])
        mark, width = follow.marks.get(self.series.key), max(self.reader.wanted.least_width, SMALLEST_WIDTH)
        if mark is None:
            return Section(_add_up(standing, laps)[-1], [], laps)
        at = next((n for n, lap in enumerate(laps) if lap.place[0] >= mark.epoch), len(laps))
        if at == len(laps):
            raise CannotFollowError  # what changed is hidden
        has_level = laps[at].width == 1 and laps[at].point.last_batch >= width
        number = mark.batch // width if has_level else 0
        if number == 0 and at == 0:
            return Section(standing, laps)
        if number == 0:
            at -= 1
            if laps[at].width > self.reader.span(self.series):
                raise CannotFollowError  # no epoch near it was read by itself
            reach = laps[at].point.last_batch
            number = reach // width + 1 if reach >= width else 1
        section = Section(_add_up(standing, laps[:at])[-1], laps[at:], laps[:at])
        if number > 1:
            target = (number - 1) * width
            section.marks = begin_at(
                *(self.reader.connection, self.series, laps[at], section.before),
                lambda wide, point, _behind: (point.number + 1) * wide <= target,
            )
        return section

    def _refine(self, laps: Sequence[Lap]) -> list[Lap] | None:
        """Read spans of epochs more finely, where fewer of them are drawn than there is room for."""
        span = laps[-1].width
        first, last = laps[0].place[0] // span * span, laps[-1].place[0]
        wanted = choose_epoch_width(last - first + 1, self.reader.wanted.points)
        if wanted >= span or laps[0].width == 1:
            return None
        if wanted > 1:
            return read_spans(self.reader.connection, self.series, first, last, wanted)
        return read_laps(self.reader.connection, self.series, first, last)

    def _misses(self, start: Standing, end: Standing) -> bool:
        """Tell whether an epoch between these lies outside the range asked for."""
        wanted = self.reader.wanted
        begins, ends = start.on(wanted.x), end.on(wanted.x)
        if ends is None:
            return False
        is_late = wanted.first_x is not None and ends < wanted.first_x
        return is_late or (wanted.last_x is not None and begins is not None and begins > wanted.last_x)

    def _find(
        self, lap: Lap, standing: Standing, is_before: Callable[[Standing, str, float], bool], x: float
    ) -> dict[int, Mark]:
        axis = self.reader.wanted.x
        return begin_at(
            *(self.reader.connection, self.series, lap, standing),
            lambda _width, _point, behind: is_before(behind, axis, x),
        )


def _add_up(standing: Standing, laps: Sequence[Lap]) -> list[Standing]:
    """Return where training stood before each lap, and behind the last."""
    ends = [standing]
    for lap in laps:
        ends.append(ends[-1].past(lap.point))
    return ends


def _widen(laps: Sequence[Lap], first: int, last: int, span: int) -> tuple[int, int]:
    """Take in all epochs of the first and the last point: one of some of them would be another."""
    while first > 0 and laps[first - 1].place[0] // span == laps[first].place[0] // span:
        first -= 1
    while last + 1 < len(laps) and laps[last + 1].place[0] // span == laps[last].place[0] // span:
        last += 1
    return first, last


def _is_below(standing: Standing, axis: str, x: float) -> bool:
    place = standing.on(axis)
    return place is not None and place < x


def _is_upto(standing: Standing, axis: str, x: float) -> bool:
    """Tell whether a place is in a range up to x, which several records may share; unknown ones are early."""
    place = standing.on(axis)
    return place is None or place <= x
