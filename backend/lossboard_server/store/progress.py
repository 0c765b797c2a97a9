"""How far each rank of a run has come, which decides whether an epoch is complete."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from lossboard import wire
from lossboard_server.store.tables import SILENT, EpochRow, SeriesRow, WriterRow

LOST_AFTER_S = 30.0  # three heartbeats of a client


@dataclass(slots=True)
class Progress:
    """The newest epoch of training of every known rank, and which ranks have ended."""

    newest: dict[int, int]
    ended: set[int]

    def is_complete(self, epoch: int) -> bool:
        """Whether a later epoch or the finish has come from every known rank."""
        return bool(self.newest) and all(
            newest > epoch or rank in self.ended for rank, newest in self.newest.items()
        )


def read_progress(connection: Connection, run: Any) -> Progress:
    """Read how far the ranks of a run's newest attempt have come."""
    is_train = SeriesRow.name.like("train/%")
    query = (
        select(EpochRow.rank, func.max(EpochRow.epoch).label("newest"))
        .join(SeriesRow, (SeriesRow.run == EpochRow.run) & (SeriesRow.key == EpochRow.series))
        .where(EpochRow.run == run.key, is_train)
        .group_by(EpochRow.rank)
    )
    newest: dict[int, int] = {row.rank: row.newest for row in connection.execute(query)}
    query_writers = (
        select(WriterRow.rank, WriterRow.state)
        .where(WriterRow.run == run.key, WriterRow.state != SILENT)
        .order_by(WriterRow.last_seen_unix_s)
    )
    # A rank that was started again is as its newest writer says.
    states = {writer.rank: writer.state for writer in connection.execute(query_writers)}
    for rank in states:
        newest.setdefault(rank, -1)
    if run.state in wire.END_STATES and not states:
        return Progress(newest, set(newest))
    return Progress(newest, {rank for rank, state in states.items() if state in wire.END_STATES})
