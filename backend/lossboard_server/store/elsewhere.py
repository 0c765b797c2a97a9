"""What other replicas have changed: PostgreSQL's notifications, all versions, and what a run is now."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import func, select

from lossboard_server.domain.changes import SeenRun
from lossboard_server.store.database import open_session
from lossboard_server.store.store import Store
from lossboard_server.store.tables import RunRow, SeriesRow, WriterRow
from lossboard_server.store.writing.life import LIFE, describe_life

CHANNEL = "lossboard_runs"

_VERSIONS = select(RunRow.key, RunRow.id, RunRow.version)
_ABOUT = (
    *(RunRow.name, RunRow.project, RunRow.tags, RunRow.notes, RunRow.colour),
    *(RunRow.archived_unix_s, RunRow.deleted_unix_s),
)


class Channel:
    """A connection of its own that hears which runs others have changed, and tells them."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        connection.execute(f"LISTEN {CHANNEL}")

    def fileno(self) -> int:
        """Return what to wait on for notifications."""
        return int(self._connection.fileno())

    def hear(self) -> list[str]:
        """Return what others have told since the last call, without waiting.

        Raises: psycopg.OperationalError.
        """
        own = self._connection.info.backend_pid
        return [told.payload for told in self._connection.notifies(timeout=0) if told.pid != own]

    def tell(self, text: str) -> None:
        """Tell all replicas. Raises: psycopg.OperationalError."""
        self._connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, text))

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()


class Elsewhere:
    """Looks at the database for what this process has not written itself."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def open_channel(self) -> Channel:
        """Listen. Raises: what the driver raises where the database can't be reached."""
        return Channel(open_session(self._store.engine))

    def read_versions(self) -> dict[int, tuple[str, int]]:
        """Return every run's id and version by its key. Cost: one row a run."""
        with self._store.reading() as connection:
            return {key: (run, version) for key, run, version in connection.execute(_VERSIONS)}

    def read_runs(self, keys: Collection[int]) -> list[SeenRun]:
        """Return these runs as they are now, those left out that are gone."""
        now = self._store.clock()
        with self._store.reading() as connection:
            states: dict[int, list[Any]] = {}
            query = (
                select(WriterRow.run, WriterRow.state, func.count())
                .where(WriterRow.run.in_(keys))
                .group_by(WriterRow.run, WriterRow.state)
                .order_by(WriterRow.run, WriterRow.state)
            )
            for run, *told in connection.execute(query):
                states.setdefault(run, []).append(told)
            names: dict[int, set[str]] = {}
            for run, name in connection.execute(
                select(SeriesRow.run, SeriesRow.name).where(SeriesRow.run.in_(keys))
            ):
                names.setdefault(run, set()).add(name)
            columns = (RunRow.key, RunRow.id, RunRow.version, RunRow.state, *LIFE, *_ABOUT)
            rows = connection.execute(select(*columns).where(RunRow.key.in_(keys))).all()
        return [
            SeenRun(
                *(row.key, row.id, row.version, frozenset(names.get(row.key, ()))),
                about=repr((describe_life(row, now).state, states.get(row.key), row[-len(_ABOUT) :])),
            )
            for row in rows
        ]
