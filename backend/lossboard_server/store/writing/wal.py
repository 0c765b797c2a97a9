"""Keeping SQLite's WAL bounded: readers that overlap would never let it start anew by itself."""

import logging
import os
import time
from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from lossboard_server.store.database import BUSY_TIMEOUT_MS

logger = logging.getLogger(__name__)


class Bounds(NamedTuple):
    """When a WAL is emptied, and for how long that may keep the writer."""

    # A checkpoint of this size takes 0.2 s. SQLite's own, every 4 MB, copies pages but starts the file
    # anew only where no reader stands in it: beside six overlapping readers it never did.
    limit_bytes: int = 64 * 2**20
    wait_ms: int = 250  # for readers that began before
    patient_wait_ms: int = 2_000  # beyond twice the limit
    rest: float = 10.0  # times as long as it waited in vain, until the next attempt
    warn_factor: int = 8  # times the limit


BOUNDS: Final = Bounds()


class Wal:
    """Watches the WAL's size after each commit, on the writer's thread, and has it emptied beyond the limit.

    A reader that stays, such as another program's, can hold it up: then it grows, and the log says so once.
    """

    def __init__(self, engine: Engine, file: Path, bounds: Bounds = BOUNDS) -> None:
        self._engine = engine
        self._bounds = bounds
        self._path = file.resolve().with_name(file.resolve().name + "-wal")
        self._rests_until = 0.0
        self._has_warned = False

    @property
    def size_bytes(self) -> int:
        """How large the WAL is now."""
        try:
            return os.stat(self._path).st_size  # noqa: PTH116 - 2 µs, after every commit
        except OSError:
            return 0  # not made yet

    def bound(self) -> None:
        """Empty the WAL if it is beyond the limit; never raises, since everything is committed."""
        size, bounds = self.size_bytes, self._bounds
        if size <= bounds.limit_bytes or time.monotonic() < self._rests_until:
            return
        begun = time.monotonic()
        try:
            is_emptied = self._empty(
                bounds.patient_wait_ms if size > 2 * bounds.limit_bytes else bounds.wait_ms
            )
        except SQLAlchemyError as error:
            logger.warning("the WAL could not be emptied: %s", error)
            is_emptied = False
        if is_emptied:
            self._has_warned = False
            return
        self._rests_until = time.monotonic() + bounds.rest * (time.monotonic() - begun)
        if size > bounds.warn_factor * bounds.limit_bytes and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "the WAL has grown to %d MiB, since somebody keeps reading the database: "
                "a program that has it open should end its transaction",
                size >> 20,
            )

    def _empty(self, wait_ms: int) -> bool:
        with closing(self._engine.raw_connection()) as pooled:
            driver = pooled.driver_connection
            assert driver is not None
            try:
                driver.execute(f"PRAGMA busy_timeout = {wait_ms}")
                busy, *_ = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            except self._engine.dialect.loaded_dbapi.Error as error:
                logger.warning("the WAL could not be emptied: %s", error)
                return False
            finally:
                driver.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        return not busy
