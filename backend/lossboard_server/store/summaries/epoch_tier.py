"""The tier over epochs in the database: closing its buckets as training goes on, reading, making anew."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import groupby, islice
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, delete, func, select

from lossboard import wire
from lossboard_server.domain.epoch_pyramid import (
    EPOCH_WIDTHS,
    SMALLEST_EPOCH_WIDTH,
    EpochBucket,
    ViewSpan,
    bucket_epoch,
    climb_epochs,
    find_closed,
    join_epochs,
)
from lossboard_server.domain.meaning import Reduction
from lossboard_server.domain.pyramid import BASE
from lossboard_server.domain.summary import Summary, reduction_of
from lossboard_server.store.database import put_tuples
from lossboard_server.store.statements import Statement
from lossboard_server.store.summaries.rollup import (
    EPOCHS,
    SUMMARY_COLUMNS,
    Key,
    Stored,
    read_summary,
    summary_values,
)
from lossboard_server.store.tables import TRAIN_SPLIT, EpochBucketRow, SeriesRow

KEYS = ("series", "attempt", "width", "number")
_BEFORE_SUMMARY = ("points", "ranks", "batches", "views")
_ROWS_AT_ONCE = 500  # while a run's tier is made anew

_write_json = json.JSONEncoder(separators=(",", ":")).encode  # `dumps` would make an encoder each time

_epoch = EPOCHS.table.c
_bucket = EpochBucketRow.__table__.c
_OF_LINE: dict[str, Any] = {
    "run": bindparam("of_run"),
    "series": bindparam("of_series"),
    "attempt": bindparam("of_attempt"),
}
_SPAN = (
    select(*EPOCHS.columns)
    .where(*(_epoch[name] == value for name, value in _OF_LINE.items()))
    .where(_epoch.epoch.between(bindparam("first"), bindparam("last")))
    .order_by(_epoch.epoch, _epoch.pass_no, _epoch.rank)
)
_LEVEL = (
    select(*(_bucket[name] for name in ("number", *_BEFORE_SUMMARY, *SUMMARY_COLUMNS)))
    .where(*(_bucket[name] == value for name, value in _OF_LINE.items()))
    .where(_bucket.width == bindparam("of_width"))
    .where(_bucket.number.between(bindparam("first"), bindparam("last")))
    .order_by(_bucket.number)
)
_REACH = Statement(
    select(func.max(_epoch.epoch).label("reach")).where(
        *(_epoch[name] == value for name, value in _OF_LINE.items())
    )
)
_LINES = (
    select(_epoch.series, _epoch.attempt, func.max(_epoch.epoch))
    .where(_epoch.run == bindparam("of_run"))
    .group_by(_epoch.series, _epoch.attempt)
)
_SERIES_NAMES = select(SeriesRow.key, SeriesRow.name).where(SeriesRow.run == bindparam("of_run"))

Line = tuple[int, int]
"""(series, attempt): what the tier stands over."""

_EpochRow = tuple[int, int, int, Stored]
"""(epoch, pass_no, rank, its summary)."""


class _Owner(NamedTuple):
    """Whose buckets are at hand."""

    connection: Connection
    run: int
    series: int
    attempt: int
    is_training: bool

    def key(self, width: int, number: int) -> Key:
        """Return a bucket's key in its tier."""
        return self.series, self.attempt, width, number

    @property
    def where(self) -> dict[str, int]:
        return {"of_run": self.run, "of_series": self.series, "of_attempt": self.attempt}


def read_epoch_buckets(
    connection: Connection, run: int, series: int, attempt: int, width: int, first: int, last: int
) -> dict[int, EpochBucket]:
    """Return the stored buckets `first` to `last` of one width by number, in order.

    Steps and epochs are the attempt's own. A bucket is missing where it holds no epoch, or is not closed.
    """
    where = {"of_run": run, "of_series": series, "of_attempt": attempt}
    rows = connection.execute(_LEVEL, where | {"of_width": width, "first": first, "last": last})
    return {row[0]: _read_bucket(row) for row in rows}


def read_epoch_reach(connection: Connection, run: int, lines: Iterable[Line]) -> dict[Line, int]:
    """Return the last epoch of each of these lines, -1 where it has none, or none that is declared."""
    found = {}
    for series, attempt in lines:
        where = {"of_run": run, "of_series": series, "of_attempt": attempt}
        ((last,),) = _REACH.run(connection, where)
        found[series, attempt] = -1 if last is None else last
    return found


def close_epoch_buckets(
    connection: Connection,
    run: int,
    grown: Mapping[Key, Stored],
    reach: Mapping[Line, int],
    trains: Collection[int],
) -> None:
    """Store the buckets that new records close, and anew the closed ones that they fall into.

    `grown` are the rows of `epochs` that got records, as they are stored now; `reach` is the last
    epoch that each line had before; `trains` are the series of training.
    Cost: nothing but for a delivery that does one or the other; then 16 epochs for a bucket of the
    smallest width, and BASE buckets for a wider one.
    """
    lines: dict[Line, list[_EpochRow]] = {}
    for (series, attempt, *place), stored in grown.items():
        if place[0] >= 0:
            lines.setdefault((series, attempt), []).append((*place, stored))  # type: ignore[arg-type]
    for line, rows in lines.items():
        owner = _Owner(connection, run, *line, is_training=line[0] in trains)
        put_epoch_buckets(connection, run, _close(owner, rows, reach[line]))


def rebuild_epoch_tier(connection: Connection, run: int) -> None:
    """Make a run's buckets over epochs anew from its `epochs`, in the caller's transaction."""
    connection.execute(delete(EpochBucketRow).where(EpochBucketRow.run == run))
    names = {row.key: row.name for row in connection.execute(_SERIES_NAMES, {"of_run": run})}
    for series, attempt, reach in connection.execute(_LINES, {"of_run": run}).all():
        owner = _Owner(connection, run, series, attempt, names[series].startswith(TRAIN_SPLIT))
        found = climb_epochs(_make_points(owner, _read_rows(owner, 0, reach)))
        while some := list(islice(found, _ROWS_AT_ONCE)):
            buckets = ((owner.key(width, number), bucket) for width, number, bucket in some)
            put_epoch_buckets(connection, run, buckets)


def _close(owner: _Owner, rows: list[_EpochRow], before: int) -> Iterator[tuple[Key, EpochBucket]]:
    """Yield the closed buckets that these epochs, or their coming, change."""
    epochs = {row[0] for row in rows}
    reach = max(before, *epochs)
    moved = epochs if before < 0 else {before, *epochs}  # the bucket that was open may be closed now
    fresh: dict[int, list[_EpochRow]] = {}
    for row in rows:
        fresh.setdefault(row[0] // SMALLEST_EPOCH_WIDTH, []).append(row)
    below: dict[int, EpochBucket] = {}
    for width in EPOCH_WIDTHS:
        level: dict[int, EpochBucket] = {}
        for first, last in _stretches(find_closed(moved, width, reach)):
            if width == SMALLEST_EPOCH_WIDTH:
                points = _make_points(owner, _find_rows(owner, first, last, fresh, before))
                level |= _join(points, width)
            else:
                children = first * BASE, last * BASE + BASE - 1
                known = read_epoch_buckets(*owner[:4], width // BASE, *children) | _between(below, *children)
                level |= _join(sorted(known.items()), BASE)
        if not level:
            return
        for number, bucket in level.items():
            yield owner.key(width, number), bucket
        below = level


def _join(parts: Iterable[tuple[int, EpochBucket]], size: int) -> dict[int, EpochBucket]:
    groups = groupby(parts, lambda part: part[0] // size)
    return {number: join_epochs([bucket for _, bucket in group]) for number, group in groups}


def _stretches(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and last of each stretch of consecutive numbers, given in order."""
    for _, group in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        members = [number for _, number in group]
        yield members[0], members[-1]


def _between(level: dict[int, EpochBucket], first: int, last: int) -> dict[int, EpochBucket]:
    return {number: bucket for number, bucket in level.items() if first <= number <= last}


def _read_rows(owner: _Owner, first: int, last: int) -> Iterator[_EpochRow]:
    """Yield the stored epochs `first` to `last` in order."""
    for row in owner.connection.execute(_SPAN, owner.where | {"first": first, "last": last}):
        yield row[2], row[3], row[4], (Reduction(row[5]), read_summary(row))


def _find_rows(
    owner: _Owner, first: int, last: int, fresh: dict[int, list[_EpochRow]], before: int
) -> list[_EpochRow]:
    """Return the epochs of the smallest buckets `first` to `last` in order.

    `fresh` are those that grew, by bucket; behind epoch `before` there are no others.
    """
    found = [row for number in range(first, last + 1) for row in fresh.get(number, ())]
    start, end = first * SMALLEST_EPOCH_WIDTH, (last + 1) * SMALLEST_EPOCH_WIDTH
    if before >= start:
        stored = _read_rows(owner, start, min(before, end - 1))
        found = list({row[:3]: row for row in [*stored, *found]}.values())
    return sorted(found, key=_place)


def _make_points(owner: _Owner, rows: Iterable[_EpochRow]) -> Iterator[tuple[int, EpochBucket]]:
    """Yield each epoch and pass as a bucket of its own; rows come in order."""
    for (epoch, _), group in groupby(rows, _place):
        ranks: dict[int, Summary] = {}
        reductions = []
        for _, _, rank, (reduction, summary) in group:
            ranks[rank] = summary
            reductions.append(Reduction.UNKNOWN if reduction is None else reduction)
        yield epoch, bucket_epoch(ranks, reduction_of(reductions), is_training=owner.is_training)


def _place(row: _EpochRow) -> tuple[int, int]:
    return row[0], row[1]


def _values(bucket: EpochBucket) -> tuple[Any, ...]:
    views = {
        name: [span.told, *(wire.encode_number(value) for value in span[1:])]
        for name, span in bucket.views.items()
    }
    told = (bucket.points, bucket.ranks, bucket.batches, _write_json(views))
    return *told, *summary_values(bucket.summary)


def _read_bucket(row: Any) -> EpochBucket:
    points, ranks, batches, views = row[1:5]
    spans = {
        name: ViewSpan(told, *(wire.NONFINITE[v] if isinstance(v, str) else v for v in values))
        for name, (told, *values) in views.items()
    }
    return EpochBucket(read_summary(row), points, ranks, batches, spans)


def put_epoch_buckets(connection: Connection, run: int, buckets: Iterable[tuple[Key, EpochBucket]]) -> None:
    """Store buckets under (series, attempt, width, number), in the place of what stands there."""
    columns = ("run", *KEYS, *_BEFORE_SUMMARY, *SUMMARY_COLUMNS)
    rows = [(run, *key, *_values(bucket)) for key, bucket in buckets]
    if rows:
        put_tuples(connection, EpochBucketRow.__tablename__, columns, ("run", *KEYS), rows)
