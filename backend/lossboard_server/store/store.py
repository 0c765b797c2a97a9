"""The store as the service uses it: one writer, many readers, one database."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from sqlalchemy import Connection

from lossboard_server.domain.changes import Change
from lossboard_server.store.budget import Memo
from lossboard_server.store.codes import Codes
from lossboard_server.store.database import open_engine, ping
from lossboard_server.store.deliveries import Delivery, Receipt, Registered, RunSpec
from lossboard_server.store.ingest import store_delivery
from lossboard_server.store.migrating import migrate
from lossboard_server.store.register import register_run
from lossboard_server.store.writer import Writer


class Store:
    """Opens the database of a URL, brings its tables up to date and starts the writer.

    `announce` is called on the writer's thread after each commit; `clock` gives unix seconds.
    Raises: store.migrating.NewerDatabase for a database of a later release.
    """

    def __init__(
        self,
        url: str,
        announce: Callable[[list[Change]], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.clock = clock
        self._engine = open_engine(url)
        migrate(self._engine)
        self._writer = Writer(self._engine, announce)
        self.codes = Codes(self._writer)
        self.memo = Memo()

    def put_run(self, run_id: str, spec: RunSpec) -> "Future[Registered]":
        """Make a run or take it up; the future is set after the commit."""
        return self._writer.submit(lambda connection: register_run(connection, run_id, spec, self.clock()))

    def put_records(self, run_id: str, delivery: Delivery) -> "Future[Receipt]":
        """Store a request's records; the future is set after the commit."""
        return self._writer.submit(
            lambda connection: store_delivery(connection, run_id, delivery, self.clock())
        )

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection that sees one moment of the database, whatever is written meanwhile."""
        with self._engine.connect() as connection, connection.begin():
            yield connection

    def ping(self) -> None:
        """Raise what the database raises if it doesn't answer."""
        ping(self._engine)

    def close(self) -> None:
        """Write what is queued and let go of the database."""
        self._writer.close()
        self._engine.dispose()
