"""Reading epochs back: the visible ones with their summaries, and the views of each."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, select

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
from lossboard_server.store.reading.budget import Budget
from lossboard_server.store.reading.cuts import CutEpochs
from lossboard_server.store.reading.rows import read_pass
from lossboard_server.store.reading.series import Series
from lossboard_server.store.reading.spread import spread_epochs
from lossboard_server.store.statements import Statement
from lossboard_server.store.summaries.rollup import EPOCHS, read_summary
from lossboard_server.store.tables import EpochRow

_epoch = EpochRow.__table__.c
_own_epochs = (
    select(*EPOCHS.columns)
    .where(
        _epoch.run == bindparam("run"),
        _epoch.series == bindparam("series"),
        _epoch.attempt == bindparam("attempt"),
    )
    .order_by(_epoch.epoch, _epoch.pass_no, _epoch.rank)
)
_SOME_EPOCHS = Statement(_own_epochs.where(_epoch.epoch.between(bindparam("first"), bindparam("last"))))
PICKED = 64  # epochs that are looked up by one statement
_places = [f"at{number}" for number in range(PICKED)]
_PICKED_EPOCHS = Statement(_own_epochs.where(_epoch.epoch.in_([bindparam(place) for place in _places])))

LAST_EPOCH = 2**31 - 1  # what the column holds


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


def read_epochs(connection: Connection, series: Series, *, hidden: Counter[int] | None = None) -> list[Epoch]:
    """Return the visible epochs of a series in order.

    Epochs that an attempt cuts in two are computed anew from their rows. `hidden` counts by
    attempt the records that are left out.
    """
    query = select(*EPOCHS.columns).where(_epoch.run == series.run, _epoch.series == series.key)
    query = query.order_by(_epoch.epoch, _epoch.pass_no, _epoch.rank).execution_options(yield_per=1_000)
    return _gather(connection, series, connection.execute(query), hidden)


def read_spread_epochs(connection: Connection, series: Series, at_most: int) -> list[Epoch]:
    """Return about `at_most` of the visible epochs in order, spread over all, with the last."""
    rows: list[Any] = []
    for attempt, epochs in spread_epochs(connection, series, at_most).items():
        where = {"run": series.run, "series": series.key, "attempt": attempt}
        for first in range(0, len(epochs), PICKED):
            picked = epochs[first : first + PICKED]
            picked += picked[:1] * (PICKED - len(picked))  # the statement is made once, for so many
            rows += _PICKED_EPOCHS.run(connection, where | dict(zip(_places, picked, strict=True)))
    return _gather(connection, series, rows, None)


def read_epoch(connection: Connection, series: Series, number: int) -> list[Epoch]:
    """Return one visible epoch with its ranks, of validation each of its passes."""
    rows: list[Any] = []
    for attempt, stretch in series.stretches.items():
        first, last = stretch.own_epochs(number, number)
        if first <= last:
            rows += _read_some(connection, series, attempt, last, last)
    return _gather(connection, series, rows, None)


def read_own_epochs(
    connection: Connection, series: Series, attempt: int, first: int, last: int
) -> list[Epoch]:
    """Return what is shown of some epochs of one attempt, which counts them from `first` to `last`."""
    return _gather(connection, series, _read_some(connection, series, attempt, first, last), None)


def read_epochs_between(connection: Connection, series: Series, first: int, last: int) -> list[Epoch]:
    """Return the visible epochs from `first` to `last`, as they are shown, in order."""
    rows: list[Any] = []
    for attempt, stretch in series.stretches.items():
        rows += _read_some(connection, series, attempt, *stretch.own_epochs(first, last))
    return _gather(connection, series, rows, None)


def _read_some(connection: Connection, series: Series, attempt: int, first: int, last: int) -> Sequence[Any]:
    where = {"run": series.run, "series": series.key, "attempt": attempt, "first": first, "last": last}
    return _SOME_EPOCHS.run(connection, where)


def _gather(
    connection: Connection, series: Series, rows: Iterable[Any], hidden: Counter[int] | None
) -> list[Epoch]:
    """Join stored epochs, which come in order, to those that are shown."""
    found: dict[tuple[int, int, int], Epoch] = {}
    cut = CutEpochs(connection, series)
    for row in rows:
        _, attempt, epoch_no, pass_no, rank, code = row[:6]
        stretch = series.stretches.get(attempt)
        if stretch is None:
            continue
        batches = stretch.batches(epoch_no)
        stored, reduction = read_summary(row), Reduction(code)
        summary: Summary | None = series.continue_steps(attempt, stored)
        if batches is not None and not series.is_train:
            summary = stored if cut.shows_pass(attempt, epoch_no, stored.first_time, batches) else None
        elif batches is not None:
            lines = cut.read(attempt, epoch_no, pass_no, rank, batches)
            reduction = reduction_of(line.evaluation.reduction for line in lines) if lines else reduction
            summary = summarise(lines) if lines else None
        left_out = stored.seen - (0 if summary is None else summary.seen)
        if hidden is not None and left_out:
            hidden[attempt] += left_out
        if summary is None:
            continue
        own = None if series.is_train else attempt
        shown_epoch, shown_pass = stretch.place(epoch_no, pass_no, series.is_train)
        place = (shown_epoch, 0 if own is None else series.order[own], shown_pass)
        epoch = found.get(place)
        if epoch is None:
            epoch = found[place] = Epoch(shown_epoch, shown_pass, reduction, own)
        epoch.reduction = epoch.reduction if epoch.reduction is reduction else Reduction.UNKNOWN
        known = epoch.ranks.get(rank)
        epoch.ranks[rank] = summary if known is None else merge(known, summary)
        epoch.parts.append(Part(attempt, stored.last_batch, summary))
    return [found[place] for place in sorted(found)]


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
