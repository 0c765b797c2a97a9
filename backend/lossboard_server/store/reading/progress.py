"""How far each rank of a run has come, which decides whether an epoch is complete."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, bindparam, select, text

from lossboard import wire
from lossboard_server.domain.attempts import find_stretches
from lossboard_server.store.reading.series import read_attempts, read_reach
from lossboard_server.store.statements import Statement
from lossboard_server.store.tables import SILENT, WriterRow

# The newest epoch of each rank. Rank by rank and from the newest epoch back, since a run may have 100,000
# epochs of many ranks: every step follows an index, and none reads all epochs. Made once, as in series.py.
_OF_TRACK = "e.run = :of_run AND e.series = t.series AND e.attempt = t.attempt"
_TRAINED = Statement(
    text(f"""
    WITH RECURSIVE tracks (series, attempt) AS (
        SELECT s.key, a.key FROM series s JOIN attempts a ON a.run = s.run
        WHERE s.run = :of_run AND s.name LIKE 'train/%'
    ), further (series, attempt, rank) AS (
        SELECT t.series, t.attempt, (
            SELECT max(e.rank) FROM epochs e WHERE {_OF_TRACK} AND e.rank > 0
        ) FROM tracks t
        UNION ALL
        SELECT t.series, t.attempt, (
            SELECT max(e.rank) FROM epochs e WHERE {_OF_TRACK} AND e.rank > 0 AND e.rank < t.rank
        ) FROM further t WHERE t.rank IS NOT NULL
    ), reached (attempt, rank, epoch) AS (
        SELECT t.attempt, 0, (
            SELECT e.epoch FROM epochs e WHERE {_OF_TRACK} AND e.rank = 0 ORDER BY e.epoch DESC LIMIT 1
        ) FROM tracks t
        UNION ALL
        SELECT t.attempt, t.rank, (
            SELECT e.epoch FROM epochs e WHERE {_OF_TRACK} AND e.rank > 0 AND e.rank <= t.rank
            ORDER BY e.rank DESC, e.epoch DESC LIMIT 1
        ) FROM further t WHERE t.rank IS NOT NULL
    )
    SELECT attempt, rank, max(epoch) FROM reached WHERE epoch IS NOT NULL GROUP BY attempt, rank
    """)
)


class _Trained(NamedTuple):
    """How far a rank of an attempt has come."""

    attempt: int
    rank: int
    newest: int


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
    trained = [_Trained(*row) for row in _TRAINED.tuples(connection, of_run)]
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
