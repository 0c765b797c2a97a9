"""The attempts of a run as it is shown by itself: what each recorded, what of it is hidden, how it ended."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from lossboard import wire
from lossboard_server.domain.attempt_notes import Note, find_notes
from lossboard_server.domain.attempts import Position
from lossboard_server.domain.pace import LOST_AFTER_S
from lossboard_server.store.reading.epochs import read_epochs
from lossboard_server.store.reading.series import Series, read_attempts
from lossboard_server.store.tables import SILENT, AttemptRow, EpochRow, WriterRow

_epoch = EpochRow.__table__.c


def list_attempts(
    connection: Connection, run: int, all_series: Sequence[Series], now: float
) -> list[dict[str, Any]]:
    """Return a run's attempts in the order of their starts, numbered from 1.

    Cost: the epochs of the run, and the rows of those that an attempt cuts in two.
    """
    rows = {row.key: row for row in connection.execute(select(AttemptRow).where(AttemptRow.run == run))}
    counted = _count_records(connection, run)
    hidden = count_hidden(connection, all_series)
    states, ranks = _read_writers(connection, run, now)
    for attempt, rank in connection.execute(
        select(_epoch.attempt, _epoch.rank).where(_epoch.run == run).distinct()
    ):
        ranks.setdefault(attempt, set()).add(rank)
    attempts = all_series[0].attempts if all_series else read_attempts(connection, run)
    running = {key for key, state in states.items() if state == "running"}
    shown = all_series[0].stretches if all_series else {}
    notes = find_notes(attempts, shown, _read_ends(connection, run, all_series), running) if shown else []
    return [
        {
            "attempt": number,
            "started_unix_s": attempt.started,
            "start_epoch": rows[attempt.key].start_epoch,
            "start_batch": rows[attempt.key].start_batch,
            "world_size": rows[attempt.key].world_size,
            "records": counted[attempt.key],
            "hidden": hidden[attempt.key],
            "ranks": sorted(ranks.get(attempt.key, ())),
            "state": states.get(attempt.key),
            "notes": [_tell(note) for note in notes if note.attempt == number],
        }
        for number, attempt in enumerate(attempts, start=1)
    ]


def count_hidden(connection: Connection, all_series: Sequence[Series]) -> Counter[int]:
    """Count the records that later attempts hide, by the key of their attempt."""
    hidden: Counter[int] = Counter()
    for series in all_series:
        if any(stretch.end is not None for stretch in series.stretches.values()):
            read_epochs(connection, series, hidden=hidden)
    return hidden


def _count_records(connection: Connection, run: int) -> Counter[int]:
    # From the epochs: counting the rows of 1,000,000 records took 50 ms for each look at a run.
    query = select(_epoch.attempt, func.sum(_epoch.seen)).where(_epoch.run == run).group_by(_epoch.attempt)
    return Counter({attempt: int(seen) for attempt, seen in connection.execute(query)})


def _read_writers(connection: Connection, run: int, now: float) -> tuple[dict[int, str], dict[int, set[int]]]:
    """Return each attempt's state as its writers told it, lost where they fell silent, and its ranks."""
    told: dict[int, set[str]] = {}
    ranks: dict[int, set[int]] = {}
    query = select(WriterRow.attempt, WriterRow.rank, WriterRow.state, WriterRow.last_seen_unix_s)
    for attempt, rank, state, seen in connection.execute(query.where(WriterRow.run == run)):
        ranks.setdefault(attempt, set()).add(rank)
        if state != SILENT:
            is_lost = state not in wire.END_STATES and seen < now - LOST_AFTER_S
            told.setdefault(attempt, set()).add("lost" if is_lost else state)
    # The first that fits: one rank that still runs keeps the attempt running, one that failed fails it.
    worst = ("running", "lost", "failed", "killed", "finished")
    return {key: next((s for s in worst if s in states), "running") for key, states in told.items()}, ranks


def _read_ends(connection: Connection, run: int, all_series: Sequence[Series]) -> dict[int, Position]:
    """Return the last stored position of each attempt's training."""
    trains = [series.key for series in all_series if series.is_train]
    query = select(_epoch.attempt, func.max(_epoch.epoch)).where(_epoch.run == run, _epoch.series.in_(trains))
    ends = {}
    for attempt, epoch in connection.execute(query.group_by(_epoch.attempt)).all():
        is_last = (_epoch.run == run, _epoch.attempt == attempt, _epoch.epoch == epoch)
        batches = select(func.max(_epoch.last_batch)).where(*is_last, _epoch.series.in_(trains))
        ends[attempt] = (epoch, connection.execute(batches).scalar_one())
    return ends


def _tell(note: Note) -> dict[str, str]:
    return {"code": note.code, "message": note.message}
