"""Records read back one by one, the visible ones, with the steps of a resumed training going on."""

import math
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, and_, case, literal, or_, select, text

from lossboard_server.domain.blocks import Place
from lossboard_server.domain.curves import MAX_EVENTS, is_event
from lossboard_server.domain.meaning import Evaluation, Reduction
from lossboard_server.domain.summary import Row
from lossboard_server.store.series import Series
from lossboard_server.store.tables import IS_EXTREME, RecordRow

_record = RecordRow.__table__.c
_BEFORE_STEP = (
    _record.epoch, _record.pass_no, _record.batch, _record.rank, _record.loss, _record.batch_size,
    _record.weight, _record.divisor, _record.window_items, _record.reduction,
)  # fmt: skip
_ORDER = (_record.epoch, _record.pass_no, _record.batch, _record.rank, _record.attempt, _record.call)


def read_lines(connection: Connection, series: Series, first: int, last: int) -> Iterator[Row]:
    """Yield the visible records of a training series' epochs `first` to `last` in their order."""
    query = _visible(series, first, last).where(_is_of_attempts(series)).order_by(*_ORDER)
    return _lines(connection.execute(query.execution_options(yield_per=10_000)), series)


def read_pass(
    connection: Connection, series: Series, epoch: int, pass_no: int, attempt: int | None = None
) -> Iterator[Row]:
    """Yield the records of one epoch and pass in their order.

    Of one attempt, hidden ones included; else of all, where they are visible.
    """
    if attempt is None:
        query = _visible(series, epoch, epoch).where(_is_of_attempts(series))
    else:
        query = _select(series).where(_record.attempt == attempt, _record.epoch == epoch)
    query = query.where(_record.pass_no == pass_no).order_by(*_ORDER)
    return _lines(connection.execute(query.execution_options(yield_per=10_000)), series)


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
    return _lines(connection.execute(query), series)


def read_extremes(connection: Connection, series: Series, places: Collection[Place]) -> list[Row]:
    """Return the visible records there whose loss is not finite, the MAX_EVENTS newest, in order.

    Cost: the records returned, through an index that holds no others.
    """
    if not places:
        return []
    first, last = min(places)[0], max(places)[0]
    query = _visible(series, first, last).where(text(f"({IS_EXTREME})"))
    newest = query.order_by(*(column.desc() for column in _ORDER)).execution_options(yield_per=MAX_EVENTS)
    found: list[Row] = []
    for line in _lines(connection.execute(newest), series):
        if is_event(line) and (line.epoch, line.pass_no) in places:
            found.append(line)
        if len(found) == MAX_EVENTS:
            break
    return found[::-1]


def _lines(rows: Iterable[Any], series: Series) -> Iterator[Row]:
    for epoch, pass_no, batch, rank, loss, size, weight, divisor, window, own, step, time in rows:
        reduction = series.reduction if own is None else Reduction(own)
        evaluation = Evaluation(math.nan if loss is None else loss, size, weight, divisor, window, reduction)
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


def _is_of_attempts(series: Series) -> ColumnElement[bool]:
    # The key leads with the attempt: unless it is named, an epoch is found by reading the whole series.
    attempts = list(series.cuts)
    return _record.attempt == attempts[0] if len(attempts) == 1 else _record.attempt.in_(attempts)


def _visible(series: Series, first: int, last: int) -> Any:
    query = _select(series).where(_record.epoch.between(first, last))
    hidden = [
        and_(
            _record.attempt == attempt,
            or_(_record.epoch > cut[0], and_(_record.epoch == cut[0], _record.batch >= cut[1])),
        )
        for attempt, cut in series.cuts.items()
        if cut is not None
    ]
    return query.where(~or_(*hidden)) if hidden else query
