"""Reading the database, in whatever process: one moment of it at a time."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from lossboard_server.store.database import for_reading, open_engine
from lossboard_server.store.reading.budget import Memo
from lossboard_server.store.writing.condition import Condition

MAX_LISTED = 1_000  # runs of which the list remembers what their records tell, two of its longest pages


class Reader:
    """Looks into a database, and remembers what earlier looks have computed. Any thread may look."""

    def __init__(self, engine: Engine, condition: Condition) -> None:
        self._engine = for_reading(engine)
        self.condition = condition
        """What looking has met of the database."""
        self.memo = Memo()
        """What takes an epoch's records one by one."""
        self.listed = Memo(MAX_LISTED)
        """What the list tells of runs' records."""

    @classmethod
    def open(cls, url: str) -> "Reader":
        """Open a database that a store of another process has made ready."""
        return cls(open_engine(url), Condition())

    @contextmanager
    def look(self) -> Iterator[Connection]:
        """Give a connection that sees one moment of the database, whatever is written meanwhile.

        Raises: StorageDamaged where it can't be read, Unavailable where it does not answer.
        """
        try:
            with self._engine.connect() as connection:
                connection.begin()
                yield connection  # closing it rolls back: a commit fails where damage was met
        except SQLAlchemyError as error:
            public = self.condition.tell(error)
            if public is error:
                raise
            raise public from error

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()
