"""Records read back one by one, the visible ones, with the steps of a resumed training going on."""

import math
from collections.abc import Collection, Iterable, Iterator
from heapq import merge
from itertools import islice, pairwise
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    and_,
    bindparam,
    case,
    literal,
    or_,
    select,
    text,
)

from lossboard_server.domain.attempts import Position, Stretch
from lossboard_server.domain.blocks import Place
from lossboard_server.domain.meaning import Evaluation, Reduction
from lossboard_server.domain.points import MAX_EVENTS, is_event
from lossboard_server.domain.summary import Row
from lossboard_server.store.reading.series import Series, is_epoch
from lossboard_server.store.statements import Statement
from lossboard_server.store.tables import IS_EXTREME, RecordRow

_record = RecordRow.__table__.c
_BEFORE_STEP = (
    _record.epoch, _record.pass_no, _record.batch, _record.rank, _record.loss, _record.batch_size,
    _record.weight, _record.divisor, _record.window_items, _record.reduction,
)  # fmt: skip
_ORDER = (_record.epoch, _record.pass_no, _record.batch, _record.rank, _record.attempt, _record.call)

# What a follower asks for: most runs have one attempt, which hides nothing. Made once, as in series.py.
_BATCHES = Statement(
    select(*_BEFORE_STEP, _record.step, _record.time_unix_s)
    .where(
        _record.run == bindparam("of_run"),
        _record.series == bindparam("of_series"),
        _record.attempt == bindparam("of_attempt"),
        _record.epoch == bindparam("of_epoch"),
        _record.pass_no == bindparam("of_pass"),
        _record.batch.between(bindparam("first"), bindparam("last")),
    )
    .order_by(_record.batch, _record.rank, _record.call)
)


def read_lines(connection: Connection, series: Series, first: int, last: int) -> Iterator[Row]:
    """Yield the visible records of a training series' epochs `first` to `last` in their order."""
    return _merge(_read_group(connection, series, group, first, last) for group in _groups(series))


def read_batches(connection: Connection, series: Series, place: Place, batches: range) -> Iterator[Row]:
    """Yield the visible records of some batches of one epoch and pass of training in their order.

    Cost: the records returned, whatever the epoch holds.
    """
    epoch, pass_no = place

    def read(group: tuple[int, ...]) -> Iterator[Row]:
        if len(group) == 1 and _is_whole(series, group[0]):
            return _read_whole(connection, series, group[0], place, batches)
        passes = series.stretches[group[0]].passes_before if group and epoch < 0 else 0
        in_pass = _record.pass_no == pass_no - passes
        within = _record.batch.between(batches.start, batches.stop - 1)
        return _read_group(connection, series, group, epoch, epoch, in_pass, within)

    return _merge(read(group) for group in _groups(series))


def _is_whole(series: Series, attempt: int) -> bool:
    """Whether all of an attempt is shown, as it was recorded."""
    return series.stretches[attempt] == Stretch() and not series.steps_before.get(attempt)


def _read_whole(
    connection: Connection, series: Series, attempt: int, place: Place, batches: range
) -> Iterator[Row]:
    values = {
        "of_run": series.run,
        "of_series": series.key,
        "of_attempt": attempt,
        "of_epoch": place[0],
        "of_pass": place[1],
        "first": batches.start,
        "last": batches.stop - 1,
    }
    return _lines(_BATCHES.tuples(connection, values), series, series.stretches[attempt])


def read_pass(
    connection: Connection, series: Series, epoch: int, pass_no: int, attempt: int | None = None
) -> Iterator[Row]:
    """Yield the visible records of one epoch and pass in their order.

    Of one attempt's pass of validation all of them, since it is hidden as a whole or not at all.
    """
    if attempt is None:
        lines = read_lines(connection, series, epoch, epoch)
        yield from (line for line in lines if line.pass_no == pass_no)
        return
    stretch = series.stretches[attempt]
    own = epoch - stretch.epochs_before if epoch >= 0 else epoch
    query = _select(series).where(
        _record.attempt == attempt, _record.epoch == own, _record.pass_no == pass_no
    )
    rows = connection.execute(query.order_by(*_order((attempt,))).execution_options(yield_per=10_000))
    yield from _lines(rows, series, stretch)


def read_part(
    connection: Connection,
    series: Series,
    attempt: int,
    epoch: int,
    pass_no: int,
    batches: range,
    rank: int | None = None,
) -> Iterator[Row]:
    """Yield some batches of one attempt's epoch and pass, of one rank or all, hidden ones included."""
    query = _select(series).where(
        _record.attempt == attempt,
        _record.epoch == epoch,
        _record.pass_no == pass_no,
        _record.batch.between(batches.start, batches.stop - 1),
    )
    if rank is not None:
        query = query.where(_record.rank == rank)
    return _lines(connection.execute(query), series, Stretch())


def read_extremes(
    connection: Connection, series: Series, places: Collection[Place], batches: range | None = None
) -> list[Row]:
    """Return the visible records there whose loss is not finite, the MAX_EVENTS newest, in order.

    `batches` limits them, of a single place, to some of its batches.

    Cost: the records returned, through an index that holds no others.
    """
    if not places:
        return []
    first, last = min(places)[0], max(places)[0]
    found: list[Row] = []
    for group in _groups(series):
        query = _visible(series, group, first, last).where(text(f"({IS_EXTREME})"))
        if batches is not None:
            query = query.where(_record.batch.between(batches.start, batches.stop - 1))
        if len(group) < len(series.order):  # a sum, since the attempt's name would draw it to another index
            query = query.where((_record.attempt + 0).in_(group))
        columns = (column.desc() for column in _order(group))
        newest = query.order_by(*columns).execution_options(yield_per=MAX_EVENTS)
        lines = _lines(connection.execute(newest), series, series.stretches[group[0]])
        events = (line for line in lines if is_event(line) and (line.epoch, line.pass_no) in places)
        found += islice(events, MAX_EVENTS)
    found.reverse()  # sorting keeps the order of what stands at one place
    return sorted(found, key=_stand)[-MAX_EVENTS:]


def _merge(groups: Iterable[Iterator[Row]]) -> Iterator[Row]:
    """Merge groups of attempts, each in its order; one group, the usual case, is left as it is."""
    all_groups = list(groups)
    return all_groups[0] if len(all_groups) == 1 else merge(*all_groups, key=_stand)


def _stand(row: Row) -> tuple[int, int, int, int]:
    return row.epoch, row.pass_no, row.batch, row.rank


def _groups(series: Series) -> list[tuple[int, ...]]:
    """Return the attempts in order, those together whose epochs count alike: one query reads them."""
    groups: dict[tuple[int, int], list[int]] = {}
    for attempt, stretch in series.stretches.items():
        groups.setdefault((stretch.epochs_before, stretch.passes_before), []).append(attempt)
    return [tuple(group) for group in groups.values()] or [()]


def _read_group(
    connection: Connection,
    series: Series,
    group: tuple[int, ...],
    first: int,
    last: int,
    *more: ColumnElement[bool],
) -> Iterator[Row]:
    # The key leads with the attempt: unless it is named, an epoch is found by reading the whole series.
    is_of = _record.attempt == group[0] if len(group) == 1 else _record.attempt.in_(group)
    query = _visible(series, group, first, last).where(is_of, *more).order_by(*_order(group))
    rows = connection.execute(query.execution_options(yield_per=10_000))
    return _lines(rows, series, series.stretches[group[0]] if group else Stretch())


def _order(group: tuple[int, ...]) -> tuple[Any, ...]:
    """Return the order of records; attempts in that of their starts, whichever way they arrived."""
    if all(a < b for a, b in pairwise(group)):
        return _ORDER
    started = case(*((_record.attempt == attempt, literal(n)) for n, attempt in enumerate(group)))
    return (*_ORDER[:4], started, _record.call)


def _lines(rows: Iterable[Any], series: Series, stretch: Stretch) -> Iterator[Row]:
    more, passes = stretch.epochs_before, stretch.passes_before
    for epoch, pass_no, batch, rank, loss, size, weight, divisor, window, own, step, time in rows:
        reduction = series.reduction if own is None else Reduction(own)
        evaluation = Evaluation(math.nan if loss is None else loss, size, weight, divisor, window, reduction)
        if more or passes:
            epoch, pass_no = stretch.place(epoch, pass_no, series.is_train)
        yield Row(epoch, batch, rank, evaluation, step, time, pass_no)


def _select(series: Series) -> Any:
    step: Any = _record.step
    if series.steps_before:
        made = [
            (_record.attempt == attempt, literal(steps, BigInteger))
            for attempt, steps in series.steps_before.items()
        ]
        step = _record.step + case(*made, else_=literal(0, BigInteger))
    query = select(*_BEFORE_STEP, step, _record.time_unix_s)
    return query.where(_record.run == series.run, _record.series == series.key)


def _visible(series: Series, group: tuple[int, ...], first: int, last: int) -> Any:
    more = series.stretches[group[0]].epochs_before if group else 0
    # An undeclared epoch is not counted on: it stands before all others.
    own_first, own_last = max(first - more, 0) if first >= 0 else -1, last - more if last >= 0 else last
    own_last = own_last if first >= 0 else max(own_last, -1)
    # An equality, where it is one, lets the key be followed further.
    is_in = (
        _record.epoch == own_first if own_first == own_last else _record.epoch.between(own_first, own_last)
    )
    query = _select(series).where(is_in)
    hidden = [
        and_(_record.attempt == attempt, edge)
        for attempt in group
        for edge in _edges(series.stretches[attempt])
    ]
    return query.where(~or_(*hidden)) if hidden else query


def _edges(stretch: Stretch) -> Iterator[ColumnElement[bool]]:
    """Yield the conditions for being outside a stretch."""
    if stretch.end is not None:
        yield _is_from(stretch.end)
    if stretch.first is not None:
        yield ~_is_from(stretch.first)


def _is_from(position: Position) -> ColumnElement[bool]:
    """Return the condition that a record stands there or behind; undeclared epochs stand in epoch 0."""
    epoch, batch = position
    if epoch < 0:
        return _record.epoch >= -1
    return or_(_record.epoch > epoch, and_(is_epoch(_record.epoch, epoch), _record.batch >= batch))
