"""Reading series back: visible epochs with their summaries, visible rows, and what a run holds."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection, and_, false, or_, select, text

from lossboard_server.domain.attempts import Attempt, Position, find_cuts
from lossboard_server.domain.curves import MAX_EVENTS, is_event
from lossboard_server.domain.meaning import Evaluation, Reduction, measure
from lossboard_server.domain.summary import Row as RecordLine
from lossboard_server.domain.summary import Summary, merge, reduction_of, summarise
from lossboard_server.domain.views import EpochViews, needs_rows, raw_sum_of_batches, view_epoch
from lossboard_server.store.rollup import EPOCHS, read_summary
from lossboard_server.store.tables import IS_EXTREME, AttemptRow, EpochRow, RecordRow, SeriesRow

TRAIN = "train"

_record = RecordRow.__table__.c
_epoch = EpochRow.__table__.c
_LINE_COLUMNS = (
    _record.epoch, _record.pass_no, _record.batch, _record.rank, _record.loss, _record.batch_size,
    _record.weight, _record.divisor, _record.window_items, _record.reduction, _record.step,
    _record.time_unix_s,
)  # fmt: skip
_ORDER = (_record.epoch, _record.pass_no, _record.batch, _record.rank, _record.attempt, _record.call)


@dataclass(slots=True)
class Series:
    """A series of one run, with the positions from which later attempts hide its records."""

    run: int
    key: int
    name: str
    reduction: Reduction
    weight_unit: str
    weight_source: str
    cuts: dict[int, Position | None]
    traits: dict[str, Any] = field(default_factory=dict)

    @property
    def split(self) -> str:
        """The part of the name before the first slash."""
        return self.name.split("/", 1)[0]

    @property
    def loss_name(self) -> str:
        """The part after it."""
        return self.name.split("/", 1)[1]


class Part(NamedTuple):
    """What one attempt's one rank adds to an epoch."""

    attempt: int
    last_batch: int
    """The greatest stored, hidden ones included."""
    summary: Summary


@dataclass(slots=True)
class Epoch:
    """One visible epoch (of validation: one pass of it) of a series."""

    epoch: int
    pass_no: int
    reduction: Reduction
    ranks: dict[int, Summary] = field(default_factory=dict)
    parts: list["Part"] = field(default_factory=list)

    @property
    def is_declared(self) -> bool:
        """Whether anything told where the epoch begins."""
        return self.epoch >= 0


def read_series(connection: Connection, run: int) -> list[Series]:
    """Return a run's series, training splits first, each group in order of making."""
    attempts = connection.execute(select(AttemptRow).where(AttemptRow.run == run)).all()
    cuts = find_cuts(
        Attempt(
            row.key,
            row.started_unix_s,
            None if row.start_epoch is None else (row.start_epoch, row.start_batch),
        )
        for row in attempts
    )
    query = select(SeriesRow.__table__).where(SeriesRow.run == run).order_by(SeriesRow.key)
    found = [
        Series(
            *(run, row.key, row.name, Reduction(row.reduction), row.weight_unit, row.weight_source, cuts),
            traits=row.traits,
        )
        for row in connection.execute(query)
    ]
    return sorted(found, key=lambda series: series.split != TRAIN)


def read_epochs(connection: Connection, series: Series, *, at_most: int | None = None) -> list[Epoch]:
    """Return the visible epochs of a series in order; `at_most` takes some, spread over all, with the last.

    Epochs that an attempt cuts in two are computed anew from their rows.
    """
    query = select(*EPOCHS.columns).where(_epoch.run == series.run, _epoch.series == series.key)
    if at_most is not None:
        query = query.where(_epoch.epoch.in_(_spread_epochs(connection, series, at_most)))
    found: dict[tuple[int, int], Epoch] = {}
    query = query.order_by(_epoch.epoch, _epoch.pass_no, _epoch.rank).execution_options(yield_per=1_000)
    for row in connection.execute(query):
        _, attempt, epoch_no, pass_no, rank, code = row[:6]
        place = (epoch_no, pass_no)
        cut = series.cuts.get(attempt)
        if _is_hidden(series, attempt, epoch_no):
            continue
        reduction = Reduction(code)
        stored = summary = read_summary(row)
        if cut is not None and epoch_no == cut[0]:
            lines = list(read_part(connection, series, attempt, *place, range(cut[1]), rank))
            if not lines:
                continue
            summary, reduction = summarise(lines), reduction_of(line.evaluation.reduction for line in lines)
        epoch = found.get(place)
        if epoch is None:
            epoch = found[place] = Epoch(*place, reduction)
        epoch.reduction = epoch.reduction if epoch.reduction is reduction else Reduction.UNKNOWN
        known = epoch.ranks.get(rank)
        epoch.ranks[rank] = summary if known is None else merge(known, summary)
        epoch.parts.append(Part(attempt, stored.last_batch, summary))
    return [found[place] for place in sorted(found)]


def _is_hidden(series: Series, attempt: int, epoch: int) -> bool:
    cut = series.cuts.get(attempt)
    return cut is not None and (epoch > cut[0] or (epoch == cut[0] and _ends_at(series, cut)))


def _spread_epochs(connection: Connection, series: Series, at_most: int) -> list[int]:
    query = select(_epoch.attempt, _epoch.epoch).where(_epoch.run == series.run, _epoch.series == series.key)
    found = connection.execute(query.distinct())
    visible = sorted({row.epoch for row in found if not _is_hidden(series, row.attempt, row.epoch)})
    step = -(-len(visible) // at_most) or 1
    return visible[::-1][::step]


def view(connection: Connection, series: Series, epoch: Epoch) -> EpochViews:
    """Compute an epoch's views, from its rows where its ranks hold unequal batches."""
    ranks = [epoch.ranks[rank] for rank in sorted(epoch.ranks)]
    if not needs_rows(ranks, epoch.reduction):
        return view_epoch(ranks, epoch.reduction, is_declared=epoch.is_declared)
    values = []
    batches = set()
    for line in read_lines(connection, series, epoch.epoch, epoch.epoch, epoch.pass_no):
        batches.add(line.batch)
        measured = measure(line.evaluation)
        if measured.weight and math.isfinite(measured.m):
            values.append((line.batch, measured.v))
    raw_sum, _ = raw_sum_of_batches(values)
    return view_epoch(
        ranks,
        epoch.reduction,
        is_declared=epoch.is_declared,
        raw_sum=raw_sum,
        global_batches=len(batches),
    )


def read_lines(
    connection: Connection, series: Series, first: int, last: int, pass_no: int | None = None
) -> Iterator[RecordLine]:
    """Yield the visible records of a series' epochs `first` to `last` in their order, of one pass or all."""
    query = _visible(series, first, last).order_by(*_ORDER)
    if pass_no is not None:
        query = query.where(_record.pass_no == pass_no)
    return _lines(connection.execute(query.execution_options(yield_per=10_000)), series)


def read_part(
    connection: Connection,
    series: Series,
    attempt: int,
    epoch: int,
    pass_no: int,
    batches: range,
    rank: int | None = None,
) -> Iterator[RecordLine]:
    """Yield some batches of one attempt's epoch and pass, of one rank or all, hidden ones included."""
    query = select(*_LINE_COLUMNS).where(
        _record.run == series.run,
        _record.series == series.key,
        _record.attempt == attempt,
        _record.epoch == epoch,
        _record.pass_no == pass_no,
        _record.batch.between(batches.start, batches.stop - 1),
    )
    if rank is not None:
        query = query.where(_record.rank == rank)
    return _lines(connection.execute(query), series)


def read_extremes(connection: Connection, series: Series, epochs: Sequence[Epoch]) -> list[RecordLine]:
    """Return the visible records of these epochs whose loss is not finite, the MAX_EVENTS newest, in order.

    Cost: the records returned, through an index that holds no others.
    """
    places = {
        (epoch.epoch, epoch.pass_no)
        for epoch in epochs
        if any(rank.nonfinite for rank in epoch.ranks.values())
    }
    if not places:
        return []
    first, last = min(places)[0], max(places)[0]
    query = _visible(series, first, last).where(text(f"({IS_EXTREME})"))
    newest = query.order_by(*(column.desc() for column in _ORDER)).execution_options(yield_per=MAX_EVENTS)
    found: list[RecordLine] = []
    for line in _lines(connection.execute(newest), series):
        if is_event(line) and (line.epoch, line.pass_no) in places:
            found.append(line)
        if len(found) == MAX_EVENTS:
            break
    return found[::-1]


def _lines(rows: Iterable[Any], series: Series) -> Iterator[RecordLine]:
    for epoch, pass_no, batch, rank, loss, size, weight, divisor, window, own, step, time in rows:
        reduction = series.reduction if own is None else Reduction(own)
        evaluation = Evaluation(math.nan if loss is None else loss, size, weight, divisor, window, reduction)
        yield RecordLine(epoch, batch, rank, evaluation, step, time, pass_no)


def _visible(series: Series, first: int, last: int) -> Any:
    query = select(*_LINE_COLUMNS).where(
        _record.run == series.run,
        _record.series == series.key,
        _record.epoch.between(first, last),
    )
    hidden = _hidden(series)
    return query if hidden is None else query.where(~hidden)


def _hidden(series: Series) -> Any:
    conditions = [
        and_(
            _record.attempt == attempt,
            or_(
                _record.epoch > cut[0],
                false() if _keeps_part(series, cut) else _record.epoch == cut[0],
                and_(_record.epoch == cut[0], _record.batch >= cut[1]),
            ),
        )
        for attempt, cut in series.cuts.items()
        if cut is not None
    ]
    return or_(*conditions) if conditions else None


def _keeps_part(series: Series, cut: Position) -> bool:
    # A validation pass has no batch of training beside it; one that stands in the epoch in
    # which a later attempt began is taken to have come after that beginning.
    return cut[1] > 0 and series.split == TRAIN


def _ends_at(series: Series, cut: Position) -> bool:
    return not _keeps_part(series, cut)
