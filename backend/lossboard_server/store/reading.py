"""Reading series back: visible epochs with their summaries, visible rows, and what a run holds."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, and_, false, or_, select

from lossboard_server.domain.attempts import Attempt, Position, find_cuts
from lossboard_server.domain.meaning import Evaluation, Reduction, measure
from lossboard_server.domain.summary import Row as RecordLine
from lossboard_server.domain.summary import Summary, merge, reduction_of, summarise
from lossboard_server.domain.views import EpochViews, needs_rows, raw_sum_of_batches, view_epoch
from lossboard_server.store.rollup import COLUMNS, read_summary
from lossboard_server.store.tables import AttemptRow, EpochRow, RecordRow, SeriesRow

TRAIN = "train"

_record = RecordRow.__table__.c
_epoch = EpochRow.__table__.c
_LINE_COLUMNS = (
    _record.epoch, _record.pass_no, _record.batch, _record.rank, _record.loss, _record.batch_size,
    _record.weight, _record.divisor, _record.window_items, _record.reduction, _record.step,
    _record.time_unix_s,
)  # fmt: skip


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

    @property
    def split(self) -> str:
        """The part of the name before the first slash."""
        return self.name.split("/", 1)[0]

    @property
    def loss_name(self) -> str:
        """The part after it."""
        return self.name.split("/", 1)[1]


@dataclass(slots=True)
class Epoch:
    """One visible epoch (of validation: one pass of it) of a series."""

    epoch: int
    pass_no: int
    reduction: Reduction
    ranks: dict[int, Summary] = field(default_factory=dict)

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
        Series(run, row.key, row.name, Reduction(row.reduction), row.weight_unit, row.weight_source, cuts)
        for row in connection.execute(query)
    ]
    return sorted(found, key=lambda series: series.split != TRAIN)


def read_epochs(connection: Connection, series: Series, *, newest: int | None = None) -> list[Epoch]:
    """Return the visible epochs of a series in order; `newest` limits them to the last few.

    Epochs that an attempt cuts in two are computed anew from their rows.
    """
    query = select(*COLUMNS).where(_epoch.run == series.run, _epoch.series == series.key)
    if newest is not None:
        epochs = select(_epoch.epoch).where(_epoch.run == series.run, _epoch.series == series.key).distinct()
        query = query.where(_epoch.epoch.in_(epochs.order_by(_epoch.epoch.desc()).limit(newest)))
    found: dict[tuple[int, int], Epoch] = {}
    for row in connection.execute(query.order_by(_epoch.epoch, _epoch.pass_no, _epoch.rank)):
        cut = series.cuts.get(row.attempt)
        if cut is not None and (row.epoch > cut[0] or (row.epoch == cut[0] and _ends_at(series, cut))):
            continue
        reduction = Reduction(row.reduction)
        place = (row.epoch, row.pass_no)
        if cut is not None and row.epoch == cut[0]:
            summary, reduction = _read_cut(connection, series, row)
            if summary.seen == 0:
                continue
        else:
            summary = read_summary(row)
        epoch = found.setdefault(place, Epoch(*place, reduction))
        epoch.reduction = epoch.reduction if epoch.reduction is reduction else Reduction.UNKNOWN
        epoch.ranks[row.rank] = merge(epoch.ranks.get(row.rank, Summary()), summary)
    return [found[place] for place in sorted(found)]


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
    query = (
        select(*_LINE_COLUMNS)
        .where(
            _record.run == series.run,
            _record.series == series.key,
            _record.epoch.between(first, last),
        )
        .order_by(_record.epoch, _record.pass_no, _record.batch, _record.rank, _record.attempt, _record.call)
    )
    if pass_no is not None:
        query = query.where(_record.pass_no == pass_no)
    hidden = _hidden(series)
    if hidden is not None:
        query = query.where(~hidden)
    return _lines(connection.execute(query.execution_options(yield_per=10_000)), series)


def _lines(rows: Iterable[Any], series: Series) -> Iterator[RecordLine]:
    for epoch, _, batch, rank, loss, size, weight, divisor, window, own, step, time in rows:
        reduction = series.reduction if own is None else Reduction(own)
        evaluation = Evaluation(math.nan if loss is None else loss, size, weight, divisor, window, reduction)
        yield RecordLine(epoch, batch, rank, evaluation, step, time)


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


def _read_cut(connection: Connection, series: Series, row: Any) -> tuple[Summary, Reduction]:
    query = select(*_LINE_COLUMNS).where(
        *(_record[name] == getattr(row, name) for name in ("series", "attempt", "epoch", "pass_no", "rank")),
        _record.run == series.run,
        _record.batch < (series.cuts[row.attempt] or (0, 0))[1],
    )
    lines = list(_lines(connection.execute(query), series))
    return summarise(lines), reduction_of(
        line.evaluation.reduction for line in lines
    ) if lines else Reduction.UNKNOWN
