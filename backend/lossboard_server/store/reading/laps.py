"""Laps: a series' visible epochs as points, one by one or many together, for whatever draws curves."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Double, bindparam, cast, literal, select

from lossboard_server.domain.epoch_pyramid import EpochBucket
from lossboard_server.domain.points import NOTHING, Point, merge_points, point_of
from lossboard_server.domain.summary import summarise
from lossboard_server.store.reading.cuts import CutEpochs
from lossboard_server.store.reading.series import Series
from lossboard_server.store.statements import Statement
from lossboard_server.store.tables import BucketRow, EpochRow

FIRST_EPOCH, LAST_EPOCH = -1, 2**31 - 1  # what the column holds


STORED = (
    "seen", "count", "unweighted", "nonfinite", "items", "items_seen", "weight", "weight_low", "weighted",
    "weighted_low", "m", "m_low", "low", "high", "last_batch", "first_step", "last_step", "first_time_unix_s",
    "last_time_unix_s",
)  # fmt: skip
"""The columns of a summary that a `Point` takes, in its order."""


class Part(NamedTuple):
    """What one attempt adds to a lap."""

    attempt: int
    reach: int
    """Its greatest stored batch there, hidden ones included."""
    point: Point


@dataclass(slots=True)
class Lap:
    """One visible epoch, of validation one pass of it; or some neighbouring epochs together."""

    point: Point
    ranks: int = 1
    parts: Sequence[Part] = ()
    """By attempt, in the order in which they came; none where epochs are taken together."""
    width: int = 1
    """Epochs."""
    whole: EpochBucket | None = None
    """What the views of these epochs came to, where they are taken together."""

    first_epoch: int | None = None
    """Of those; None: there is but one."""

    @property
    def begin(self) -> int:
        """Its first epoch, as it is shown."""
        return self.point.epoch if self.first_epoch is None else self.first_epoch

    @property
    def place(self) -> tuple[int, int]:
        """Its epoch and pass, as they are shown."""
        return self.point.epoch, self.point.pass_no


def point_columns(table: type[EpochRow] | type[BucketRow], number: Any) -> tuple[Any, ...]:
    """Return the columns of a `Point`, to select; its batches are those of one rank."""
    columns = table.__table__.c
    return (
        columns.epoch,
        columns.pass_no,
        number,
        *(columns[name] for name in STORED),
        cast(columns.seen, Double).label("batches"),
    )


_epoch = EpochRow.__table__.c
_LAPS = Statement(
    select(_epoch.attempt, _epoch.rank, *point_columns(EpochRow, literal(0).label("number")))
    .where(
        _epoch.run == bindparam("run"),
        _epoch.series == bindparam("series"),
        _epoch.attempt == bindparam("attempt"),
        _epoch.epoch.between(bindparam("first"), bindparam("last")),
    )
    .order_by(_epoch.epoch, _epoch.pass_no, _epoch.rank)
)


def read_laps(
    connection: Connection, series: Series, first: int = FIRST_EPOCH, last: int = LAST_EPOCH
) -> list[Lap]:
    """Return the visible epochs from `first` to `last`, as they are shown, in order.

    Cost: the epochs, and the rows of those that an attempt cuts in two.
    """
    found: dict[tuple[int, int, int], _Gathering] = {}
    cut = CutEpochs(connection, series)
    for attempt, stretch in series.stretches.items():
        where = {"run": series.run, "series": series.key, "attempt": attempt}
        where |= zip(("first", "last"), stretch.own_epochs(first, last), strict=True)
        rows = _LAPS.tuples(connection, where)
        if series.is_plain and all(row[1] == 0 for row in rows):
            return [_plain(row) for row in rows]
        for row in rows:
            point = _show(cut, attempt, row[1], Point._make(row[2:]))
            if point is not None:
                order = 0 if series.is_train else series.order[attempt]
                key = (point.epoch, order, point.pass_no)
                found.setdefault(key, _Gathering({}, set())).add(attempt, row[1], row[2 + LAST_BATCH], point)
    return [found[key].finish() for key in sorted(found)]


LAST_BATCH = Point._fields.index("last_batch")


def _plain(row: tuple[Any, ...]) -> Lap:
    point = Point._make(row[2:])
    return Lap(point, 1, (Part(row[0], point.last_batch, point),))


def _show(cut: CutEpochs, attempt: int, rank: int, point: Point) -> Point | None:
    """Return what of a stored epoch is shown, where it is shown; None for nothing of it."""
    series = cut.series
    stretch = series.stretches[attempt]
    batches = stretch.batches(point.epoch)
    place = stretch.place(point.epoch, point.pass_no, series.is_train)
    if batches is not None and not series.is_train:
        if not cut.shows_pass(attempt, point.epoch, point.first_time, batches):
            return None
    elif batches is not None:
        rows = cut.read(attempt, point.epoch, point.pass_no, rank, batches)
        return point_of(summarise(rows), place, 0, 1) if rows else None  # whose steps go on already
    return series.move(attempt, point)


@dataclass(slots=True)
class _Gathering:
    """The ranks and attempts of one lap, as they are read."""

    parts: dict[int, Part]
    ranks: set[int]

    def add(self, attempt: int, rank: int, reach: int, point: Point) -> None:
        self.ranks.add(rank)
        known = self.parts.get(attempt)
        if known is not None:
            reach, point = max(reach, known.reach), merge_points(known.point, point)
        self.parts[attempt] = Part(attempt, reach, point)

    def finish(self) -> Lap:
        total = NOTHING
        for part in self.parts.values():
            total = merge_points(total, part.point)
        total = total._replace(batches=total.seen / len(self.ranks))
        return Lap(total, len(self.ranks), tuple(self.parts.values()))
