"""How far each rank of a run has come, which decides whether an epoch is complete."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, func, select

from lossboard import wire
from lossboard_server.domain.attempts import find_stretches
from lossboard_server.store.reading.series import read_attempts, read_reach
from lossboard_server.store.statements import Statement
from lossboard_server.store.tables import SILENT, EpochRow, SeriesRow, WriterRow

# Made once, as in series.py.
_TRAINED = Statement(
    select(EpochRow.attempt, EpochRow.rank, func.max(EpochRow.epoch).label("newest"))
    .join(SeriesRow, (SeriesRow.run == EpochRow.run) & (SeriesRow.key == EpochRow.series))
    .where(EpochRow.run == bindparam("of_run"), SeriesRow.name.like("train/%"))
    .group_by(EpochRow.attempt, EpochRow.rank)
)
_WRITERS = Statement(
    select(WriterRow.attempt, WriterRow.rank, WriterRow.state)
    .where(WriterRow.run == bindparam("of_run"), WriterRow.state != SILENT)
    .order_by(WriterRow.last_seen_unix_s, WriterRow.writer)
)


@dataclass(slots=True)
class Progress:
    """The newest epoch of training of every known rank, and which ranks have ended."""

    newest: dict[int, int]
    ended: set[int]

    @property
    def first_incomplete(self) -> int | None:
        """The first epoch that is not complete; None where all ranks have ended."""
        going = [newest for rank, newest in self.newest.items() if rank not in self.ended]
        return max(min(going), 0) if going else None if self.newest else 0

    def is_complete(self, epoch: int) -> bool:
        """Whether a later epoch or the finish has come from every known rank."""
        return bool(self.newest) and all(
            newest > epoch or rank in self.ended for rank, newest in self.newest.items()
        )


def read_progress(connection: Connection, run: Any) -> Progress:
    """Read how far the ranks of a run's newest attempt have come.

    Earlier attempts may have come further: what they trained beyond its start is hidden.
    """
    of_run = {"of_run": run.key}
    trained: Sequence[Any] = _TRAINED.run(connection, of_run)
    writers: Sequence[Any] = _WRITERS.run(connection, of_run)
    start, before = -1, 0
    attempts = {row.attempt for row in (*trained, *writers)}
    if len(attempts) > 1:
        newest_attempt, start, before = _find_newest(connection, run.key, attempts)
        trained = [row for row in trained if row.attempt == newest_attempt]
        writers = [row for row in writers if row.attempt == newest_attempt]
    newest = {row.rank: max(row.newest + before, start) for row in trained}
    # A rank that was started again is as its newest writer says.
    states = {writer.rank: writer.state for writer in writers}
    for rank in states:
        newest.setdefault(rank, start)
    if run.state in wire.END_STATES and not states:
        return Progress(newest, set(newest))
    return Progress(newest, {rank for rank, state in states.items() if state in wire.END_STATES})


def _find_newest(connection: Connection, run: int, attempts: set[int]) -> tuple[int, int, int]:
    """Return the key of the attempt that started last, its first epoch, and what its epochs are moved by.

    One of unknown position has its epochs counted on behind those before it; −1 where there are none.
    """
    known = read_attempts(connection, run)
    newest = [attempt for attempt in known if attempt.key in attempts][-1]
    if newest.start is not None:
        return newest.key, newest.start[0], 0
    before = find_stretches(known, read_reach(connection, run, known))[newest.key].epochs_before
    return newest.key, before or -1, before
