"""What must not be written to is found before it is opened, and left byte for byte as it was."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from lossboard_server.store.files.refusals import (
    DamagedDatabase,
    ForeignDatabase,
    NewerDatabase,
    UnusableDatabase,
)
from lossboard_server.store.store import Store
from lossboard_server.store.writing.deliveries import RunSpec


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with some runs in it, closed in good order."""
    path = tmp_path_factory.mktemp("stored") / "s.db"
    store = Store(f"sqlite:///{path}")
    for number in range(50):
        store.put_run(f"r{number}", RunSpec()).result(5)
    store.close()
    return path


@pytest.fixture
def path(stored: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(stored, tmp_path / "s.db"))


def refuse(path: Path, error: type[Exception], match: str) -> None:
    """Open a file in vain, and hold all that stands beside it against what stood there before."""
    before = {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}
    with pytest.raises(error, match=match):
        Store(f"sqlite:///{path}")
    after = {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}
    after.pop("s.db.lock")
    after.pop("s.db-shm", None)  # SQLite's scratch, which says nothing of the data
    assert after == before


def test_overwritten_header_is_damage(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\xff" * 64)
    refuse(path, DamagedDatabase, "lossboard doctor")


def test_text_file_is_no_database(path: Path) -> None:
    path.write_text("epoch,batch,loss\n" * 100)
    refuse(path, DamagedDatabase, "no SQLite database")


def test_file_of_a_few_bytes_is_no_database(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0")
    refuse(path, DamagedDatabase, "no SQLite database")


def test_file_that_was_cut_off_is_damage(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(size // 2 // 4096 * 4096)
    refuse(path, DamagedDatabase, f"cut off.*of {size:,}")


def test_overwritten_tables_of_contents_are_damage(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xa5" * 3900)
    refuse(path, DamagedDatabase, "is damaged")


def test_file_of_a_later_release_is_left_alone_whatever_its_journal_mode(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
        connection.execute("PRAGMA journal_mode = DELETE")
    refuse(path, NewerDatabase, "Upgrade Lossboard")


def test_later_release_that_was_killed_is_known_by_its_wal(path: Path, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    killed.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
        for name in ("s.db", "s.db-wal"):
            shutil.copy(tmp_path / name, killed / name)
    assert b"9999" not in (killed / "s.db").read_bytes()
    refuse(killed / "s.db", NewerDatabase, "Upgrade Lossboard")


def test_database_of_another_program_is_not_filled_with_our_tables(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
        connection.commit()
    refuse(path, ForeignDatabase, "something else")


def test_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "s.db").mkdir()
    refuse(tmp_path / "s.db", UnusableDatabase, "is a folder")


def test_link_to_itself_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "s.db").symlink_to("s.db")
    refuse(tmp_path / "s.db", UnusableDatabase, "no ordinary file")


def test_file_system_without_shared_memory_is_told(tmp_path: Path) -> None:
    # SQLite's own way to work without locks; it takes no WAL then.
    with pytest.raises(UnusableDatabase, match="no shared memory"):
        Store(f"sqlite:///file:{tmp_path}/s.db?vfs=unix-none&uri=true")


def test_empty_file_becomes_a_database(tmp_path: Path) -> None:
    (tmp_path / "s.db").touch()
    Store(f"sqlite:///{tmp_path / 's.db'}").close()


def test_file_with_a_wal_of_a_kill_is_taken_up(path: Path, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    killed.mkdir()
    store = Store(f"sqlite:///{path}")
    store.put_run("last", RunSpec()).result(5)
    for name in ("s.db", "s.db-wal"):
        shutil.copy(tmp_path / name, killed / name)
    store.close()
    again = Store(f"sqlite:///{killed / 's.db'}")
    assert not again.put_run("last", RunSpec()).result(5).created
    again.close()
