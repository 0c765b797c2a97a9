"""Reading what a curve of training is drawn from: buckets of one width, and losses that are not finite."""

from collections.abc import Callable, Iterator, Sequence

from sqlalchemy import Connection, bindparam, select

from lossboard_server.domain.attempts import ENDLESS
from lossboard_server.domain.points import Point, Points, merge_points, point_of
from lossboard_server.domain.summary import Row, summarise
from lossboard_server.store.reading.laps import Lap, Part, point_columns
from lossboard_server.store.reading.rows import read_extremes, read_part
from lossboard_server.store.reading.series import Series
from lossboard_server.store.statements import Statement
from lossboard_server.store.tables import BucketRow

Batches = range | None
"""Which batches of a group are shown; None: all."""

ALL = range(ENDLESS)

_bucket = BucketRow.__table__.c
_level = (
    select(*point_columns(BucketRow, _bucket.number))
    .where(
        _bucket.run == bindparam("run"),
        _bucket.series == bindparam("series"),
        _bucket.attempt == bindparam("attempt"),
        _bucket.width == bindparam("width"),
        _bucket.epoch.between(bindparam("first"), bindparam("last")),
    )
    .order_by(_bucket.epoch, _bucket.pass_no, _bucket.number)
)
_LEVEL = Statement(_level)
_PART = Statement(
    _level.where(
        _bucket.pass_no == bindparam("pass_no"), _bucket.number.between(bindparam("from_"), bindparam("to"))
    )
)


def read_buckets(
    connection: Connection, series: Series, laps: Sequence[Lap], width: int, within: range = ALL
) -> Points:
    """Return the visible buckets of these laps in their order, as if made of the rows themselves.

    `within` limits a single lap to the buckets that hold some of these batches.
    Cost: the buckets, and at an attempt's cut up to `width` batches of rows.
    """
    points = Points(read_points(connection, series, laps, width, within))
    whole = range(within.start // width * width, -(-within.stop // width) * width)
    note_extremes(
        *(connection, series, laps, points),
        lambda epoch, pass_no, batch: (epoch, pass_no, batch // width),
        None if within == ALL else whole,
    )
    return points


def read_points(
    connection: Connection, series: Series, laps: Sequence[Lap], width: int, within: range = ALL
) -> list[Point]:
    """Return the same without the records among them that are not finite."""
    found: list[Point] = []
    stretches: dict[int, list[Lap]] = {}
    for lap in laps:
        if len(lap.parts) == 1 and lap.parts[0].reach < width:  # no level of this width: one bucket
            found.append(lap.point)
        elif len(lap.parts) == 1 and _shown(series, lap, lap.parts[0]) is None:
            stretches.setdefault(lap.parts[0].attempt, []).append(lap)
        else:
            pieced = _read_pieced(connection, series, lap, width)
            found += [point for point in pieced if _overlap(point, width, within)]
    is_mixed = bool(found) or len(stretches) > 1
    for attempt, whole in stretches.items():
        found += _read_level(connection, series, attempt, whole, width, within)
    if is_mixed:
        found.sort(key=_stand)
    return found


def note_extremes(
    connection: Connection,
    series: Series,
    laps: Sequence[Lap],
    points: Points,
    bucket_of: Callable[[int, int, int], tuple[int, int, int]],
    batches: range | None = None,
) -> None:
    """Find the records that are not finite, and which of the points holds each.

    `bucket_of` an (epoch, pass_no, batch): the (epoch, pass_no, number) of its point. `batches`
    limits them, of a single lap: of those that are told, the newest are.
    """
    extreme = {lap.place for lap in laps if lap.point.nonfinite}
    if not extreme:
        return
    at = {_stand(point): number for number, point in enumerate(points.rows)}
    for row in read_extremes(connection, series, extreme, batches):
        number = at.get(bucket_of(row.epoch, row.pass_no, row.batch))
        if number is not None:  # else it is out of the range asked for
            points.events.append((number, row))


def _overlap(point: Point, width: int, within: range) -> bool:
    return within.start < (point.number + 1) * width and point.number * width < within.stop


def _stand(point: Point) -> tuple[int, int, int]:
    return point[0], point[1], point[2]


def _shown(series: Series, lap: Lap, part: Part) -> Batches:
    stretch = series.stretches[part.attempt]
    return stretch.batches(stretch.unplace(*lap.place)[0])


def _read_level(
    connection: Connection, series: Series, attempt: int, laps: Sequence[Lap], width: int, within: range
) -> list[Point]:
    """Return the stored buckets of laps that one attempt made, nothing of them hidden."""
    stretch = series.stretches[attempt]
    ends = [stretch.unplace(*lap.place)[0] for lap in (laps[0], laps[-1])]
    where = {"run": series.run, "series": series.key, "attempt": attempt, "width": width}
    where |= {"first": min(ends), "last": max(ends)}
    query = _LEVEL
    if within != ALL:
        query = _PART
        where |= {"pass_no": stretch.unplace(*laps[0].place)[1]}
        where |= {"from_": within.start // width, "to": (within.stop - 1) // width}
    points = list(map(Point._make, query.tuples(connection, where)))
    if not series.is_plain:
        points = [series.move(attempt, point) for point in points]
    ranks = {lap.place: lap.ranks for lap in laps}
    if any(count > 1 for count in ranks.values()):
        points = [point._replace(batches=point.seen / ranks.get(point[:2], 1)) for point in points]
    # Epochs between them may be another attempt's, or shown in part; of the outer ones some passes
    # lie outside.
    if not series.is_plain or any(point[1] for point in points):
        points = [point for point in points if point[:2] in ranks]
    return points


def _read_pieced(connection: Connection, series: Series, lap: Lap, width: int) -> list[Point]:
    """Return the buckets of a lap that several attempts made, or that one shows in part."""
    found: dict[int, Point] = {}
    for part in lap.parts:
        for point in _read_part(connection, series, lap, part, width):
            known = found.get(point.number)
            found[point.number] = point if known is None else merge_points(known, point)
    return [found[number]._replace(batches=found[number].seen / lap.ranks) for number in sorted(found)]


def _read_part(connection: Connection, series: Series, lap: Lap, part: Part, width: int) -> Iterator[Point]:
    """Yield one attempt's buckets, and the rows of those that a cut splits."""
    if part.reach < width:
        yield part.point._replace(number=0)
        return
    shown = _shown(series, lap, part)
    own = Lap(part.point._replace(epoch=lap.place[0], pass_no=lap.place[1]), 1, (part,))
    for point in _read_level(connection, series, part.attempt, [own], width, ALL):
        first = point.number * width
        if shown is None or (shown.start <= first and first + width <= shown.stop):
            yield point
    epoch, pass_no = series.stretches[part.attempt].unplace(*lap.place)
    for batches in _split(shown, width):
        rows: list[Row] = list(read_part(connection, series, part.attempt, epoch, pass_no, batches))
        if rows:
            yield point_of(summarise(rows), lap.place, batches.start // width, 1)


def _split(shown: Batches, width: int) -> Iterator[range]:
    """Yield the batches of the buckets that are shown in part."""
    if shown is None or shown.start >= shown.stop:
        return
    first, last = shown.start // width, shown.stop // width
    if shown.start % width:
        yield range(shown.start, min((first + 1) * width, shown.stop))
    if shown.stop != ENDLESS and shown.stop % width and (last > first or not shown.start % width):
        yield range(max(last * width, shown.start), shown.stop)
