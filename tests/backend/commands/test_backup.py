"""Backups: one moment of a database that is written to, whole or not there."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lossboard_server.commands import backup

ROWS = [{"epoch": 0, "batch": batch, "loss": 1.0, "batch_size": 1} for batch in range(500)]


def fill(service: TestClient, run: str = "r") -> None:
    """Make a run of some records."""
    service.put(f"/api/v1/runs/{run}", json={})
    assert service.post(f"/api/v1/runs/{run}/records", json={"records": ROWS}).status_code == 200


def count_records(file: Path) -> int:
    """Count what a database holds, opened where nothing may be written."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM records").fetchone()[0])


def test_a_backup_beside_a_service_is_a_database_that_can_be_served(home, away, tmp_path):
    copy = away.folder / "lossboard.db"
    with home.serving() as service:
        fill(service)
        assert home.type("backup", str(copy)) == 0
        fill(service, "later")
    assert count_records(copy) == 500
    assert sorted(path.name for path in away.folder.iterdir()) == ["lossboard.db"]
    with home.serving() as there, away.serving() as here:
        path = "/api/v1/runs/r/export?format=csv"
        assert here.get(path).text == there.get(path).text
        assert here.get("/api/v1/runs/later").status_code == 404


def test_a_backup_is_of_one_moment_however_much_is_written_meanwhile(home, tmp_path, monkeypatch):
    steps: list[int] = []
    with home.serving() as service:
        fill(service)

        def make_bar(*_: Any) -> "Bar":
            return Bar()

        class Bar:
            n = 0

            def __enter__(self) -> "Bar":
                return self

            def __exit__(self, *_: object) -> None:
                pass

            def update(self, _: int) -> None:
                steps.append(len(steps))
                if len(steps) < 20:
                    fill(service, f"more{len(steps)}")

        monkeypatch.setattr(backup, "make_bar", make_bar)
        monkeypatch.setattr(backup, "PAGES_A_STEP", 4)
        assert home.type("backup", str(tmp_path / "copy.db")) == 0
    assert len(steps) > 3, "it was written to between the steps"
    assert count_records(tmp_path / "copy.db") == 500


def test_a_file_that_is_there_is_replaced_only_when_that_is_meant(home, tmp_path, capsys):
    file = tmp_path / "copy.db"
    file.write_text("mine")
    with home.serving() as service:
        fill(service)
        assert home.type("backup", str(file)) == 2
        assert "--force" in capsys.readouterr().err
        assert file.read_text() == "mine"
        assert home.type("backup", str(file), "--force") == 0
        assert home.type("backup", str(home.folder / "lossboard.db"), "--force") == 2
        assert "is the database itself" in capsys.readouterr().err
    assert count_records(file) == 500


def test_what_a_killed_backup_left_is_no_hindrance(home, tmp_path):
    (tmp_path / "copy.db.part").write_text("half of a copy")
    (tmp_path / "copy.db.part-journal").write_text("half of a journal")
    with home.serving() as service:
        fill(service)
    assert home.type("backup", str(tmp_path / "copy.db")) == 0
    assert count_records(tmp_path / "copy.db") == 500
    assert not [path for path in tmp_path.iterdir() if ".part" in path.name]


def test_a_damaged_database_is_not_taken_for_a_backup(home, tmp_path, capsys):
    with home.serving() as service:
        fill(service)
    file = home.folder / "lossboard.db"
    with closing(sqlite3.connect(file)) as connection:
        page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'records'").fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        connection.execute("PRAGMA journal_mode = DELETE")
    content = bytearray(file.read_bytes())
    content[(page - 1) * size : (page - 1) * size + 200] = b"\xff" * 200
    file.write_bytes(content)
    assert home.type("backup", str(tmp_path / "copy.db")) == 1
    said = capsys.readouterr().err
    assert "damaged" in said or "malformed" in said
    assert [path.name for path in tmp_path.iterdir() if "copy" in path.name] == []


def test_room_that_deleted_runs_left_is_left_out_of_a_compact_copy(home, tmp_path):
    with home.serving() as service:
        fill(service)
    file = home.folder / "lossboard.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE room AS SELECT randomblob(1000000) AS blob")
        connection.execute("DROP TABLE room")
        connection.commit()
    whole, compact = tmp_path / "whole.db", tmp_path / "compact.db"
    assert home.type("backup", str(whole)) == 0
    assert home.type("backup", str(compact), "--compact") == 0
    assert whole.stat().st_size - compact.stat().st_size > 900_000
    assert count_records(compact) == 500


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql+psycopg://a:secret@127.0.0.1:1/x", "pg_dump"),
        ("sqlite:////nowhere/at/all.db", "There is no database"),
        ("nonsense", "--database"),
    ],
)
def test_what_cannot_be_copied_is_told_with_what_to_do(home, tmp_path, capsys, url, told):
    assert home.type("backup", str(tmp_path / "copy.db"), "--database", url) == 2
    said = capsys.readouterr().err
    assert told in said
    assert "secret" not in said
