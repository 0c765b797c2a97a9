"""The series of a run: what their numbers mean, and what of them a resumed training shows."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, or_, select

from lossboard_server.domain.attempts import (
    Attempt,
    Hidden,
    Span,
    Stretch,
    count_steps_before,
    find_hidden,
    find_stretches,
    order,
)
from lossboard_server.domain.meaning import Reduction
from lossboard_server.domain.points import Point
from lossboard_server.domain.summary import Summary
from lossboard_server.store.statements import Statement
from lossboard_server.store.tables import AttemptRow, EpochRow, RecordRow, SeriesRow

TRAIN = "train"
WHOLE = Stretch()
FIRST_SPLITS = (TRAIN, "val")
FIRST_LOSS = "loss"  # what `watch` and `log` call it where nobody names it

_epoch = EpochRow.__table__.c
_record = RecordRow.__table__.c
# Made once: 20 runs on a chart spent more on building such queries than on running them.
_ATTEMPTS = Statement(
    select(AttemptRow.key, AttemptRow.started_unix_s, AttemptRow.start_epoch, AttemptRow.start_batch).where(
        AttemptRow.run == bindparam("of_run")
    )
)
_SERIES = Statement(select(SeriesRow.__table__).where(SeriesRow.run == bindparam("of_run")))


@dataclass(slots=True)
class Series:
    """A series of one run, with what is shown of each of its attempts."""

    run: int
    key: int
    name: str
    reduction: Reduction
    weight_unit: str
    weight_source: str
    stretches: dict[int, Stretch]
    """By the attempt's key; an attempt that is not in it is not shown."""
    traits: dict[str, Any] = field(default_factory=dict)
    attempts: Sequence[Attempt] = ()
    """Of the run, in the order of their starts."""
    order: dict[int, int] = field(default_factory=dict)
    """The number of each attempt in the order of their starts, from 0, by its key."""
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

    @property
    def rank(self) -> tuple[int, bool, str]:
        """Its place among a run's series: by name, since the order of arrival is not the same twice."""
        first = FIRST_SPLITS.index(self.split) if self.split in FIRST_SPLITS else len(FIRST_SPLITS)
        return first, self.loss_name != FIRST_LOSS, self.name

    def continue_steps(self, attempt: int, summary: Summary) -> Summary:
        """Move a fresh summary's steps behind those that were made before its attempt."""
        before = self.steps_before.get(attempt)
        if before and summary.first_step is not None and summary.last_step is not None:
            summary.first_step += before
            summary.last_step += before
        return summary

    @property
    def is_plain(self) -> bool:
        """Whether all of it is shown, as it was counted: it has one attempt."""
        return len(self.stretches) == 1 and next(iter(self.stretches.values())) == WHOLE

    def move(self, attempt: int, point: Point) -> Point:
        """Move an attempt's point to where it is shown, its steps behind those made before."""
        stretch = self.stretches[attempt]
        if stretch.epochs_before or stretch.passes_before:
            epoch, pass_no = stretch.place(point.epoch, point.pass_no, self.is_train)
            point = point._replace(epoch=epoch, pass_no=pass_no)
        before = self.steps_before.get(attempt)
        if before and point.first_step is not None and point.last_step is not None:
            point = point._replace(first_step=point.first_step + before, last_step=point.last_step + before)
        return point

    def showing(self, stretches: dict[int, Stretch]) -> "Series":
        """Return the series with other stretches of it shown, its steps where they are."""
        return replace(self, stretches=stretches)


def read_attempts(connection: Connection, run: int) -> list[Attempt]:
    """Return a run's attempts in the order in which they started."""
    return order(
        Attempt(key, started, None if epoch is None else (epoch, batch))
        for key, started, epoch, batch in _ATTEMPTS.run(connection, {"of_run": run})
    )


def read_series(connection: Connection, run: int, *, with_steps: bool = True) -> list[Series]:
    """Return a run's series, training splits first, each group by name.

    `with_steps` False leaves an attempt's steps as it counted them, which saves a query where a
    run was resumed and nobody asks for steps.
    """
    attempts = read_attempts(connection, run)
    stretches = find_stretches(attempts, read_reach(connection, run, attempts))
    numbers = {attempt.key: number for number, attempt in enumerate(attempts)}
    found = [
        Series(
            *(run, row.key, row.name, Reduction(row.reduction), row.weight_unit, row.weight_source),
            stretches=stretches,
            traits=row.traits,
            attempts=attempts,
            order=numbers,
        )
        for row in _SERIES.run(connection, {"of_run": run})
    ]
    if with_steps and len(attempts) > 1:
        steps = _count_steps(connection, found, attempts, stretches)
        for series in found:
            series.steps_before = steps
    return sorted(found, key=lambda series: series.rank)


def read_hidden(connection: Connection, run: int, keys: Collection[int]) -> list[Hidden]:
    """Return what is hidden of some attempts of a run, in the order of their starts."""
    attempts = read_attempts(connection, run)
    return find_hidden(attempts, read_reach(connection, run, attempts), keys)


def read_reach(connection: Connection, run: int, attempts: Sequence[Attempt]) -> dict[int, int]:
    """Return each attempt's greatest epoch; nothing where all of them say where they start."""
    if all(attempt.start is not None for attempt in attempts[1:]):
        return {}
    query = select(_epoch.attempt, func.max(_epoch.epoch)).where(_epoch.run == run).group_by(_epoch.attempt)
    return {row[0]: row[1] for row in connection.execute(query)}


def is_train_of(run: int) -> ColumnElement[bool]:
    """Return the condition that a record belongs to a training series of this run."""
    keys = select(SeriesRow.key).where(SeriesRow.run == run, SeriesRow.name.like(f"{TRAIN}/%"))
    return and_(_record.run == run, _record.series.in_(keys))


def _count_steps(
    connection: Connection,
    all_series: Sequence[Series],
    attempts: Sequence[Attempt],
    stretches: Mapping[int, Stretch],
) -> dict[int, int]:
    """Return the visible steps before each attempt, over all its training."""
    trains = [series for series in all_series if series.is_train]
    if not trains:
        return {}
    run, keys = trains[0].run, [series.key for series in trains]
    spans: dict[int, Span] = {}
    whole = _read_whole_spans(connection, run, keys, stretches)
    for attempt, first, last in [*whole, *_read_part_spans(connection, run, keys, stretches)]:
        if first is None or last is None:
            continue
        known = spans.get(attempt, Span(first, last))
        spans[attempt] = Span(min(known.first, first), max(known.last, last))
    return count_steps_before(attempts, spans)


def _read_whole_spans(
    connection: Connection, run: int, trains: Sequence[int], stretches: Mapping[int, Stretch]
) -> Sequence[Any]:
    """Return (attempt, least, greatest step) of the epochs that are shown as a whole."""
    whole = [
        _epoch.attempt == attempt
        if stretch.end is None
        else and_(_epoch.attempt == attempt, _epoch.epoch < stretch.end[0])
        for attempt, stretch in stretches.items()
        if stretch.end is None or stretch.end[0] > 0  # an undeclared epoch stands in epoch 0
    ]
    query = (
        select(_epoch.attempt, func.min(_epoch.first_step), func.max(_epoch.last_step))
        .where(_epoch.run == run, _epoch.series.in_(trains), or_(*whole))
        .group_by(_epoch.attempt)
    )
    return connection.execute(query).all()


def _read_part_spans(
    connection: Connection, run: int, trains: Sequence[int], stretches: Mapping[int, Stretch]
) -> list[Any]:
    """Return the same of the epochs that a later attempt cuts in two."""
    found = []
    for attempt, stretch in stretches.items():
        if stretch.end is None or stretch.end[1] == 0:
            continue
        query = select(func.min(_record.step), func.max(_record.step)).where(
            _record.run == run,
            _record.series.in_(trains),
            _record.attempt == attempt,
            is_epoch(_record.epoch, stretch.end[0]),
            _record.batch < stretch.end[1],
        )
        found.append((attempt, *connection.execute(query).one()))
    return found


def is_epoch(column: Any, epoch: int) -> ColumnElement[bool]:
    """Return the condition that a record stands in an epoch; an undeclared one stands in epoch 0."""
    condition: ColumnElement[bool] = column.in_((-1, 0)) if epoch == 0 else column == epoch
    return condition
