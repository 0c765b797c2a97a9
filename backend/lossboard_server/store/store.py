"""The store as the service uses it: one writer, many readers, one database."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager

from sqlalchemy import Connection

from lossboard_server.domain.changes import Change
from lossboard_server.store.database import WRITERS, is_shared, open_engine, ping
from lossboard_server.store.files.ownership import database_file, take_ownership
from lossboard_server.store.files.preflight import inspect_file
from lossboard_server.store.migrating import known_versions, migrate
from lossboard_server.store.reader import Reader
from lossboard_server.store.writing.codes import Codes
from lossboard_server.store.writing.condition import Condition
from lossboard_server.store.writing.deliveries import Delivery, Receipt, Registered, RunSpec
from lossboard_server.store.writing.ingest import store_delivery
from lossboard_server.store.writing.register import register_run
from lossboard_server.store.writing.wal import Wal
from lossboard_server.store.writing.writer import Result, Writer


class Store:
    """Opens the database of a URL, brings its tables up to date and starts the writer.

    `announce` is called on the writer's thread after each commit; `clock` gives unix seconds;
    `purpose` tells others who holds a SQLite file, which one process at a time may.
    Raises: store.files.refusals.UnusableDatabase, the database unchanged.
    """

    def __init__(
        self,
        url: str,
        announce: Callable[[list[Change]], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
        purpose: str = "another process",
    ) -> None:
        self.clock = clock
        file = database_file(url)
        self._ownership = take_ownership(file, purpose)
        try:
            if file is not None:
                inspect_file(file, known_versions())
            self.engine = open_engine(url)
            try:
                migrate(self.engine)
            except BaseException:
                self.engine.dispose()
                raise
        except BaseException:
            self._ownership.release()
            raise
        self.condition = Condition()
        self.reader = Reader(self.engine, self.condition)
        self.wal = None if file is None else Wal(self.engine, file)
        threads = WRITERS if is_shared(url) else 1
        self.writer = Writer(self.engine, announce, self.condition, self.wal, threads)
        self.codes = Codes(self.writer)

    def put_run(self, run_id: str, spec: RunSpec) -> "Future[Registered]":
        """Make a run or take it up; the future is set after the commit."""
        return self.writer.submit(
            lambda connection: register_run(connection, run_id, spec, self.clock()), run_id
        )

    def put_records(self, run_id: str, delivery: Delivery) -> "Future[Receipt]":
        """Store a request's records; the future is set after the commit."""
        return self.writer.submit(
            lambda connection: store_delivery(connection, run_id, delivery, self.clock()), run_id
        )

    def write(
        self, work: Callable[[Connection], tuple[Result, list[Change]]], run: str = ""
    ) -> "Future[Result]":
        """Do some other work as the one writer; the future is set after the commit.

        `run` is the id of the run that it changes. Raises: Busy, Unavailable.
        """
        return self.writer.submit(work, run)

    def reading(self) -> AbstractContextManager[Connection]:
        """Give a connection that sees one moment of the database, whatever is written meanwhile.

        Raises: StorageDamaged where it can't be read, Unavailable where it does not answer.
        """
        return self.reader.look()

    def ping(self) -> None:
        """Raise what the database raises if it doesn't answer."""
        ping(self.engine)

    def close(self) -> None:
        """Write what is queued and let go of the database."""
        has_ended = self.writer.close()
        self.engine.dispose()
        if has_ended:  # else the lock goes with the process: a disk that hangs may still take a commit
            self._ownership.release()
