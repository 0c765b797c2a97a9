"""What SQLite's own errors are told as: a full disk, damage, another program that holds the file."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from lossboard_server.errors import Busy, StorageDamaged, StorageFull
from lossboard_server.store.database import open_engine
from lossboard_server.store.failures import as_public
from lossboard_server.store.writing.condition import Condition


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "f.db"


@pytest.fixture
def engine(path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE pages (content BLOB)"))
    yield engine
    engine.dispose()


def fail(engine: Engine, *statements: str) -> DBAPIError:
    """Run statements of which the last fails, and return how."""
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        for statement in statements[:-1]:
            driver.execute(statement)
        with pytest.raises(DBAPIError) as caught:
            connection.exec_driver_sql(statements[-1])
    return caught.value


def test_full_disk_is_told_as_such_and_forgotten_with_the_next_commit(engine: Engine) -> None:
    error = fail(engine, "PRAGMA max_page_count = 4", "INSERT INTO pages VALUES (zeroblob(100000))")
    condition = Condition()
    assert isinstance(condition.tell(error), StorageFull)
    assert (condition.storage, condition.failures["full"]) == ("full", 1)
    condition.note_commit()
    assert condition.storage == "ok"


def test_program_that_holds_the_file_makes_it_busy(engine: Engine, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        error = fail(engine, "PRAGMA busy_timeout = 1", "INSERT INTO pages VALUES (NULL)")
    public = as_public(error)
    assert isinstance(public, Busy)
    assert public.headers == {"Retry-After": "1"}


def test_damage_is_told_and_stays_known_and_is_logged_once_a_minute(
    engine: Engine, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(path)) as connection:
        page = connection.execute("SELECT rootpage FROM sqlite_master").fetchone()[0]
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xa5" * 4096)
    condition = Condition()
    for _ in range(3):
        assert isinstance(condition.tell(fail(engine, "SELECT * FROM pages")), StorageDamaged)
    condition.note_commit()
    assert (condition.storage, condition.failures["damaged"]) == ("damaged", 3)
    assert caplog.text.count("lossboard doctor") == 1


def test_what_is_none_of_these_stays_as_it_is(engine: Engine) -> None:
    error = fail(engine, "SELECT * FROM nothing")
    assert as_public(error) is error
    assert Condition().tell(error) is error
