"""SQLite's WAL stays small beside readers that overlap, and a reader that stays is told of."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, text

from lossboard_server.domain.changes import Change
from lossboard_server.store.database import open_engine
from lossboard_server.store.writing.wal import Bounds, Wal
from lossboard_server.store.writing.writer import Writer

LIMIT_BYTES = 512 * 1024
BOUNDS = Bounds(LIMIT_BYTES, wait_ms=250, patient_wait_ms=500, rest=0.0, warn_factor=8)
ROW_BYTES = 64 * 1024
READERS = 4


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "w.db"


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE pages (content BLOB)"))
    yield engine
    engine.dispose()


@contextmanager
def reading(engine: Engine) -> Iterator[None]:
    """Stand in the WAL."""
    with engine.connect() as connection, connection.begin():
        connection.execute(text("SELECT count(*) FROM pages")).all()
        yield


@contextmanager
def overlapping_readers(engine: Engine) -> Iterator[None]:
    """Keep some reader in the WAL at every moment, none of them for long."""
    is_over = threading.Event()

    def read() -> None:
        while not is_over.is_set():
            with reading(engine):
                is_over.wait(0.03)

    threads = [threading.Thread(target=read) for _ in range(READERS)]
    for thread in threads:
        thread.start()
        is_over.wait(0.01)
    try:
        yield
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def write_rows(writer: Writer, wal: Wal, count: int) -> int:
    """Write rows, one commit each; return the largest that the WAL was."""

    def work(connection: Connection) -> tuple[None, list[Change]]:
        connection.execute(text("INSERT INTO pages VALUES (zeroblob(:size))"), {"size": ROW_BYTES})
        return None, []

    largest = 0
    for _ in range(count):
        writer.submit(work).result(10)
        largest = max(largest, wal.size_bytes)
    return largest


def test_wal_stays_small_beside_readers_that_overlap(engine: Engine, path: Path) -> None:
    wal = Wal(engine, path, BOUNDS)
    writer = Writer(engine, lambda _: None, wal=wal)
    with overlapping_readers(engine):
        assert write_rows(writer, wal, 150) < 4 * LIMIT_BYTES
    writer.close()


def test_reader_that_stays_is_told_of_once_and_the_wal_is_emptied_when_it_goes(
    engine: Engine, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wal = Wal(engine, path, BOUNDS._replace(wait_ms=1, patient_wait_ms=1))
    writer = Writer(engine, lambda _: None, wal=wal)
    with caplog.at_level(logging.WARNING), reading(engine):
        assert write_rows(writer, wal, 80) > BOUNDS.warn_factor * LIMIT_BYTES
    assert caplog.text.count("somebody keeps reading the database") == 1
    write_rows(writer, wal, 2)
    writer.close()
    assert wal.size_bytes < 2 * LIMIT_BYTES


def test_small_wal_is_left_alone(engine: Engine, path: Path) -> None:
    wal = Wal(engine, path, BOUNDS)
    writer = Writer(engine, lambda _: None, wal=wal)
    write_rows(writer, wal, 2)
    writer.close()
    assert wal.size_bytes > ROW_BYTES


def test_wal_of_a_link_is_beside_the_file_itself(engine: Engine, path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.db"
    link.symlink_to(path)
    assert Wal(engine, link).size_bytes == Wal(engine, path).size_bytes > 0
