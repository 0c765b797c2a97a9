"""What came before a curve's range, as far back as a smoothed curve still feels it."""

import math
from collections.abc import Sequence

from lossboard_server.api.views.reader import RunReader
from lossboard_server.api.views.sections import Section, begin_at, read_section
from lossboard_server.domain.curves import Standing
from lossboard_server.domain.descent import Mark
from lossboard_server.domain.points import Point
from lossboard_server.store.reading.laps import Lap, read_laps
from lossboard_server.store.reading.series import Series

WARM_UP = 10  # half-lives before a zoomed range: what came earlier weighs less than a thousandth
WARM_UP_POINTS = 5_000  # read for it at most: in coarser buckets the order of their batches is lost


def read_before(
    reader: RunReader, series: Series, section: Section, width: int | None, half_life: float
) -> Sequence[Point]:
    """Return the buckets before a section that is drawn at a width, no finer than its own.

    Units: half_life in items.
    """
    mark = section.start(width)
    items = WARM_UP * half_life
    laps = _go_back(reader, series, section.earlier, items - mark.so_far.items)
    before = Section(Standing(), laps)
    if mark.batch:
        before = Section(Standing(), [*laps, section.laps[0]], stop=mark.batch)
        if not laps:
            before.marks = _skip(reader, series, section.laps[0], mark, items)
    wide = before.width(WARM_UP_POINTS, width or 1)
    return read_section(reader.connection, series, before, reader.wanted.points, wide).rows


def _go_back(reader: RunReader, series: Series, earlier: Sequence[Lap], items: float) -> list[Lap]:
    """Return the last of these laps that hold so many items, those of many epochs taken apart."""
    found: list[Lap] = []
    for lap in reversed(earlier):
        if items <= 0:
            break
        parts = [lap]
        if lap.whole is not None and lap.width > reader.span(series):
            epochs = math.ceil(items / max(lap.point.items / lap.whole.points, 1))
            last = lap.place[0]
            parts = read_laps(reader.connection, series, max(last - epochs, last - lap.whole.points, 0), last)
        found[:0] = parts
        items -= sum(part.point.items for part in parts)
    return found


def _skip(reader: RunReader, series: Series, lap: Lap, mark: Mark, items: float) -> dict[int, Mark]:
    """Find where in the section's own epoch its smoothed curve begins to feel what came."""
    return begin_at(
        *(reader.connection, series, lap, Standing(items=mark.standing.items - mark.so_far.items_seen)),
        lambda _width, _point, behind: behind.items < mark.standing.items - items,
    )
