"""Reading epochs back: the visible ones with their summaries, and the views of each."""

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from lossboard_server.domain.blocks import Place
from lossboard_server.domain.meaning import Reduction
from lossboard_server.domain.objective import has_large_steps
from lossboard_server.domain.summary import Row, Summary, merge, reduction_of, summarise
from lossboard_server.domain.views import (
    EpochViews,
    needs_rows,
    needs_rows_for_sum,
    view_epoch,
    views_of_rows,
)
from lossboard_server.store.budget import Budget
from lossboard_server.store.rollup import EPOCHS, read_summary
from lossboard_server.store.rows import read_part, read_pass
from lossboard_server.store.series import Series, is_train_of
from lossboard_server.store.tables import EpochRow, RecordRow

_record = RecordRow.__table__.c
_epoch = EpochRow.__table__.c


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
    attempt: int | None = None
    """Of validation, since an attempt numbers its passes from 0; training goes on through attempts."""
    ranks: dict[int, Summary] = field(default_factory=dict)
    parts: list[Part] = field(default_factory=list)

    @property
    def is_training(self) -> bool:
        """Whether it was trained, and so made steps."""
        return self.attempt is None

    @property
    def is_declared(self) -> bool:
        """Whether anything told where the epoch begins."""
        return self.epoch >= 0

    @property
    def place(self) -> Place:
        """Its epoch and pass."""
        return self.epoch, self.pass_no

    @property
    def seen(self) -> int:
        """Its records."""
        return sum(rank.seen for rank in self.ranks.values())

    @property
    def has_nonfinite(self) -> bool:
        """Whether some loss of it is not finite."""
        return any(rank.nonfinite for rank in self.ranks.values())


def read_epochs(connection: Connection, series: Series, *, at_most: int | None = None) -> list[Epoch]:
    """Return the visible epochs of a series in order; `at_most` takes some, spread over all, with the last.

    Epochs that an attempt cuts in two are computed anew from their rows.
    """
    query = select(*EPOCHS.columns).where(_epoch.run == series.run, _epoch.series == series.key)
    if at_most is not None:
        query = query.where(_epoch.epoch.in_(_spread_epochs(connection, series, at_most)))
    found: dict[tuple[int, int, int], Epoch] = {}
    ends: dict[int, float | None] = {}
    query = query.order_by(_epoch.epoch, _epoch.pass_no, _epoch.rank).execution_options(yield_per=1_000)
    for row in connection.execute(query):
        _, attempt, epoch_no, pass_no, rank, code = row[:6]
        if series.is_hidden(attempt, epoch_no):
            continue
        reduction = Reduction(code)
        stored = summary = series.continue_steps(attempt, read_summary(row))
        cut = series.cut_within(attempt, epoch_no)
        if cut is not None and series.is_train:
            lines = list(read_part(connection, series, attempt, epoch_no, pass_no, range(cut), rank))
            if not lines:
                continue
            summary, reduction = summarise(lines), reduction_of(line.evaluation.reduction for line in lines)
        elif cut is not None:
            if attempt not in ends:
                ends[attempt] = _read_hidden_time(connection, series, attempt, (epoch_no, cut))
            if not _is_before(summary, ends[attempt]):
                continue
        own = None if series.is_train else attempt
        place = (epoch_no, 0 if own is None else series.order[own], pass_no)
        epoch = found.get(place)
        if epoch is None:
            epoch = found[place] = Epoch(epoch_no, pass_no, reduction, own)
        epoch.reduction = epoch.reduction if epoch.reduction is reduction else Reduction.UNKNOWN
        known = epoch.ranks.get(rank)
        epoch.ranks[rank] = summary if known is None else merge(known, summary)
        epoch.parts.append(Part(attempt, stored.last_batch, summary))
    return [found[place] for place in sorted(found)]


def _read_hidden_time(
    connection: Connection, series: Series, attempt: int, cut: tuple[int, int]
) -> float | None:
    """Return when an attempt trained the first batch that a later one hides; None: it never did."""
    query = select(func.min(_record.time_unix_s)).where(
        is_train_of(series.run),
        _record.attempt == attempt,
        _record.epoch == cut[0],
        _record.batch >= cut[1],
    )
    time: float | None = connection.execute(query).scalar()
    return time


def _is_before(summary: Summary, hidden_from: float | None) -> bool:
    """Tell whether a pass began before training went beyond the cut; not where no time tells it."""
    return hidden_from is None or (summary.first_time is not None and summary.first_time < hidden_from)


def _spread_epochs(connection: Connection, series: Series, at_most: int) -> list[int]:
    query = select(_epoch.attempt, _epoch.epoch).where(_epoch.run == series.run, _epoch.series == series.key)
    found = connection.execute(query.distinct())
    visible = sorted({row.epoch for row in found if not series.is_hidden(row.attempt, row.epoch)})
    step = -(-len(visible) // at_most) or 1
    return visible[::-1][::step]


def view(connection: Connection, series: Series, epoch: Epoch, budget: Budget | None = None) -> EpochViews:
    """Compute an epoch's views, from its rows where its ranks hold unequal batches.

    A step objective that needs the rows is None where the budget does not hold them.
    """
    budget = Budget(0) if budget is None else budget
    if not _lacks_rows(epoch) or not (
        needs_rows_for_sum(rank_summaries(epoch), epoch.reduction) or budget.take(epoch.seen)
    ):
        return view_summaries(epoch)
    return budget.memo.find(
        ("views", *identify(series, epoch)), lambda: view_rows(epoch, read_rows(connection, series, epoch))
    )


def view_summaries(epoch: Epoch) -> EpochViews:
    """Compute what an epoch's summaries tell of its views."""
    views = view_epoch(rank_summaries(epoch), epoch.reduction, is_declared=epoch.is_declared)
    return views if epoch.is_training else replace(views, step_objective=None)


def view_rows(epoch: Epoch, rows: list[Row]) -> EpochViews:
    """Compute an epoch's views with its rows at hand; validation makes no steps.

    Summaries take windows of equal size for granted; the rows tell.
    """
    has_windows = epoch.is_training and any(has_large_steps(rank) for rank in epoch.ranks.values())
    if not has_windows and not _lacks_rows(epoch):
        return view_summaries(epoch)
    views = views_of_rows(rank_summaries(epoch), epoch.reduction, rows, epoch.is_declared)
    return views if epoch.is_training else replace(views, step_objective=None)


def _lacks_rows(epoch: Epoch) -> bool:
    """Tell whether some view of the epoch needs its rows."""
    needs = needs_rows if epoch.is_training else needs_rows_for_sum
    return needs(rank_summaries(epoch), epoch.reduction)


def rank_summaries(epoch: Epoch) -> list[Summary]:
    """Return the summaries of an epoch's ranks, by rank."""
    return [epoch.ranks[rank] for rank in sorted(epoch.ranks)]


def read_rows(connection: Connection, series: Series, epoch: Epoch) -> list[Row]:
    """Return an epoch's records in order of batch and rank."""
    return list(read_pass(connection, series, *epoch.place, epoch.attempt))


def identify(series: Series, epoch: Epoch) -> tuple[Hashable, ...]:
    """Return what an epoch's rows are known by: where they are, and what they add up to."""
    sums = (
        (rank, s.seen, s.v, s.m, s.weight, s.weighted, s.m2, s.first_step, s.last_step, s.last_time)
        for rank, s in epoch.ranks.items()
    )
    return (series.run, series.key, epoch.attempt, *epoch.place, epoch.reduction, *sums)
