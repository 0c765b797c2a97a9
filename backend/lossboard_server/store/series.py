"""The series of a run: what their numbers mean, and what of them a resumed training shows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from lossboard_server.domain.attempts import (
    Attempt,
    Position,
    Span,
    count_steps_before,
    find_cuts,
    order,
)
from lossboard_server.domain.meaning import Reduction
from lossboard_server.domain.summary import Summary
from lossboard_server.store.tables import AttemptRow, EpochRow, RecordRow, SeriesRow

TRAIN = "train"

_epoch = EpochRow.__table__.c
_record = RecordRow.__table__.c
_Steps = tuple[int, int | None, int | None]
"""(attempt, least step, greatest step)."""


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
    order: dict[int, int] = field(default_factory=dict)
    """The number of each attempt in the order of their starts, by its key."""
    steps_before: dict[int, int] = field(default_factory=dict)
    """What to add to an attempt's steps, which it counts from its own start."""

    @property
    def split(self) -> str:
        """The part of the name before the first slash."""
        return self.name.split("/", 1)[0]

    @property
    def loss_name(self) -> str:
        """The part after it."""
        return self.name.split("/", 1)[1]

    @property
    def is_train(self) -> bool:
        """Whether its records were made while training; else they come in passes without updates."""
        return self.split == TRAIN

    def is_hidden(self, attempt: int, epoch: int) -> bool:
        """Whether a later attempt hides this epoch of an attempt as a whole."""
        cut = self.cuts.get(attempt)
        return cut is not None and (epoch > cut[0] or (epoch == cut[0] and cut[1] == 0))

    def cut_within(self, attempt: int, epoch: int) -> int | None:
        """Return the batch at which a later attempt cuts this epoch in two; None where none does."""
        cut = self.cuts.get(attempt)
        return cut[1] if cut is not None and cut[0] == epoch and cut[1] > 0 else None

    def continue_steps(self, attempt: int, summary: Summary) -> Summary:
        """Move a fresh summary's steps behind those that were made before its attempt."""
        before = self.steps_before.get(attempt)
        if before and summary.first_step is not None and summary.last_step is not None:
            summary.first_step += before
            summary.last_step += before
        return summary


def read_series(connection: Connection, run: int, *, with_steps: bool = True) -> list[Series]:
    """Return a run's series, training splits first, each group in order of making.

    `with_steps` False leaves an attempt's steps as it counted them, which saves a query where a
    run was resumed and nobody asks for steps.
    """
    attempts = [
        Attempt(
            row.key,
            row.started_unix_s,
            None if row.start_epoch is None else (row.start_epoch, row.start_batch),
        )
        for row in connection.execute(select(AttemptRow).where(AttemptRow.run == run))
    ]
    cuts = find_cuts(attempts)
    numbers = {attempt.key: number for number, attempt in enumerate(order(attempts))}
    query = select(SeriesRow.__table__).where(SeriesRow.run == run).order_by(SeriesRow.key)
    found = [
        Series(
            *(run, row.key, row.name, Reduction(row.reduction), row.weight_unit, row.weight_source, cuts),
            traits=row.traits,
            order=numbers,
        )
        for row in connection.execute(query)
    ]
    if with_steps and len(attempts) > 1:
        trains = [series.key for series in found if series.is_train]
        steps = count_steps_before(attempts, _read_spans(connection, run, trains, cuts))
        for series in found:
            series.steps_before = steps
    return sorted(found, key=lambda series: not series.is_train)


def is_train_of(run: int) -> ColumnElement[bool]:
    """Return the condition that a record belongs to a training series of this run."""
    keys = select(SeriesRow.key).where(SeriesRow.run == run, SeriesRow.name.like(f"{TRAIN}/%"))
    return and_(_record.run == run, _record.series.in_(keys))


def _read_spans(
    connection: Connection, run: int, trains: Sequence[int], cuts: dict[int, Position | None]
) -> dict[int, Span]:
    """Return the visible steps of each attempt, over all its training."""
    whole = [
        _epoch.attempt == attempt if cut is None else and_(_epoch.attempt == attempt, _epoch.epoch < cut[0])
        for attempt, cut in cuts.items()
    ]
    query = (
        select(_epoch.attempt, func.min(_epoch.first_step), func.max(_epoch.last_step))
        .where(_epoch.run == run, _epoch.series.in_(trains), or_(*whole))
        .group_by(_epoch.attempt)
    )
    found: list[_Steps] = [(row[0], row[1], row[2]) for row in connection.execute(query)]
    for attempt, cut in cuts.items():
        if cut is not None and cut[1] > 0:
            found.append((attempt, *_read_part_span(connection, run, trains, attempt, cut)))
    spans: dict[int, Span] = {}
    for attempt, first, last in found:
        if first is None or last is None:
            continue
        known = spans.get(attempt, Span(first, last))
        spans[attempt] = Span(min(known.first, first), max(known.last, last))
    return spans


def _read_part_span(
    connection: Connection, run: int, trains: Sequence[int], attempt: int, cut: Position
) -> tuple[int | None, int | None]:
    query = select(func.min(_record.step), func.max(_record.step)).where(
        _record.run == run,
        _record.series.in_(trains),
        _record.attempt == attempt,
        _record.epoch == cut[0],
        _record.batch < cut[1],
    )
    row = connection.execute(query).one()
    return row[0], row[1]
