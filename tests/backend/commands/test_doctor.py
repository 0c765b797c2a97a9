"""`lossboard doctor` as it is typed: what it finds, what it mends, and beside a running service."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from lossboard.wire import Record
from lossboard_server.commands.doctor import main
from lossboard_server.domain.blocks import as_blocks
from lossboard_server.store.store import Store
from lossboard_server.store.writing.deliveries import Delivery, RunSpec


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """Make a database with one run of 120 records, and close it."""
    path = tmp_path / "s.db"
    store = Store(f"sqlite:///{path}")
    store.put_run("r", RunSpec()).result(5)
    records = [Record("train/loss", i // 3, i % 3, 1 / (1 + i), 2, time=1e9 + i) for i in range(120)]
    store.put_records("r", Delivery(as_blocks(records))).result(5)
    store.close()
    return path


def type_doctor(path: Path, *more: str) -> int:
    return main(["--database", f"sqlite:///{path}", *more])


def change(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_whole_database_is_said_to_be_whole(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert type_doctor(file) == 0
    assert capsys.readouterr().out == f"{file}: 1 run, 120 records: whole.\n"


def test_damage_is_told_until_it_is_mended(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(file, "UPDATE epochs SET seen = 4 WHERE epoch = 7")
    change(file, "DELETE FROM epoch_buckets")
    assert type_doctor(file) == 1
    said = capsys.readouterr().out
    assert "r: 1 of 40 epochs differ from their records. `lossboard doctor --rebuild` makes them anew" in said
    assert "r: 2 of 2 epoch_buckets are missing." in said
    assert said.endswith("1 run, 120 records: 2 findings.\n")
    assert type_doctor(file, "--rebuild") == 0
    assert "made the summaries of 1 run anew" in capsys.readouterr().out
    assert type_doctor(file) == 0


def test_running_service_is_read_beside_and_never_rebuilt_under(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(f"sqlite:///{file}", purpose="lossboard serve")
    try:
        assert type_doctor(file) == 0
        assert "in use by lossboard serve" in capsys.readouterr().out
        assert type_doctor(file, "--rebuild") == 2
        assert "end it first" in capsys.readouterr().err
    finally:
        store.close()


def test_page_that_was_overwritten_is_found(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode = DELETE")  # all pages are in the file
    (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'records'").fetchone()
    connection.close()
    with file.open("r+b") as database:
        database.seek((page - 1) * 4096)
        database.write(b"\x7f" * 4096)
    assert type_doctor(file) == 1
    said = capsys.readouterr().out
    assert "SQLite says" in said
    assert "`lossboard backup`" in said


def test_file_that_is_not_there_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert type_doctor(tmp_path / "none.db") == 2
    assert "There is no database at" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
