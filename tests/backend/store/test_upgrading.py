"""A file made by the first release: upgraded whole or not at all, and it answers as it did."""

import json
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lossboard_server.app import create_app
from lossboard_server.settings import Settings
from lossboard_server.store.checks.checking import check_file, check_run, list_runs
from lossboard_server.store.migrating import HEAD
from lossboard_server.store.store import Store

RELEASE = Path(__file__).parent / "releases"
BASE_URL = "http://127.0.0.1:8765"
START_UNIX_S = 1_790_000_000.0  # as in releases/make.py
TABLES = ("runs", "attempts", "writers", "series", "records", "epochs", "buckets")
FILE_LIMIT_BYTES = 48 * 1024  # the shared memory of SQLite's WAL takes 32, the upgrade's WAL more
CURVE_KEYS = ("run", "series", "x", "count", "nonfinite", "records")

# Migrate, and die before the statement of a number: as a kill, or the power, ends it anywhere.
MIGRATE = """
import os, signal, sys
from sqlalchemy import event
from lossboard_server.store.database import open_engine
from lossboard_server.store.migrating import migrate
engine, left = open_engine(sys.argv[1]), int(sys.argv[2])
def count(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
event.listen(engine, "before_cursor_execute", count)
migrate(engine)
print(int(sys.argv[2]) - left)
"""


@pytest.fixture(scope="module")
def first_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file as the first release left it."""
    path = tmp_path_factory.mktemp("release") / "lossboard.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((RELEASE / "0.1.0.sql").read_text(encoding="utf-8"))
        connection.execute("PRAGMA journal_mode = WAL")
    return path


@pytest.fixture
def path(first_release: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(first_release, tmp_path / "lossboard.db"))


@pytest.fixture
def upgraded(path: Path) -> Iterator[TestClient]:
    """This release's service on it."""
    settings = Settings.resolve({"dir": str(path.parent), "no_token": "true", "readers": "0"}, {})
    with TestClient(create_app(settings, lambda: START_UNIX_S + 10_000), base_url=BASE_URL) as client:
        yield client


def test_upgraded_file_answers_as_the_first_release_did(upgraded: TestClient) -> None:
    answers = json.loads((RELEASE / "0.1.0.json").read_text(encoding="utf-8"))
    assert len(answers) > 20
    for path, told in answers.items():
        answer = upgraded.get(path).json()
        if "/epochs" in path:
            assert find_difference(told, answer) is None, path
            continue
        (before,), (now,) = told, answer["curves"]
        for key in CURVE_KEYS:
            assert find_difference(before[key], now[key]) is None, (path, key)
        assert before["views"].keys() <= now["views"].keys(), path
        for view, values in before["views"].items():
            assert find_difference(values, now["views"][view]) is None, (path, view)


def test_upgrade_loses_no_row_and_its_summaries_agree_with_the_rows(path: Path) -> None:
    before = count_rows(path)
    assert before["buckets"] > 50
    store = Store(f"sqlite:///{path}")
    with store.reading() as connection:
        runs = list_runs(connection)
        findings = [*check_file(connection)]
        for run in runs:
            findings += check_run(connection, run.key, lambda _: None)
        filled = connection.exec_driver_sql("SELECT DISTINCT width FROM epoch_buckets").scalars().all()
        keys = connection.exec_driver_sql("SELECT count(*) FROM run_keys").scalar()
    store.close()
    assert findings == []
    assert count_rows(path) == before
    assert keys == len(runs) == before["runs"]
    assert set(filled) == {16, 64}


def test_writers_go_on_where_they_stood(upgraded: TestClient) -> None:
    path = "/api/v1/runs/long"
    before = upgraded.get(path).json()
    (writer,) = before["writers"]
    following = writer["next"]

    def send(seq: int) -> Any:
        columns = {"epoch": [70], "batch": [0], "loss": [0.5], "batch_size": [32], "index": [seq]}
        body = {"writer": writer["writer"], "seq": seq, "attempt": START_UNIX_S, "rank": 0}
        return upgraded.post(f"{path}/records", json={**body, "series": {"train/loss": columns}}).json()

    assert send(following - 1) == {"stored": 0, "duplicates": 1, "next": following}
    assert send(following) == {"stored": 1, "duplicates": 0, "next": following + 1}
    assert upgraded.get(path).json()["counts"]["records"] == before["counts"]["records"] + 1


def test_upgrade_that_is_killed_leaves_what_was_there_and_is_done_by_the_next_start(path: Path) -> None:
    before = dump(path)
    for number in (8, 14, 40, 10_000):
        ended = migrate_in_a_process(path, die_before=number)
        if ended.returncode == 0:
            assert int(ended.stdout) > 40, "the kills must have come before the end"
            break
        assert ended.returncode == -9, ended.stderr
        assert dump(path) == before
    assert read_version(path) == HEAD


def test_upgrade_that_meets_a_full_disk_leaves_what_was_there(path: Path) -> None:
    before = dump(path)
    ended = migrate_in_a_process(path, file_limit=FILE_LIMIT_BYTES)
    assert ended.returncode == 1, "the upgrade must need more than that"
    assert dump(path) == before
    assert migrate_in_a_process(path).returncode == 0
    assert read_version(path) == HEAD


def migrate_in_a_process(
    path: Path, die_before: int = 0, file_limit: int | None = None
) -> "subprocess.CompletedProcess[str]":
    def limit() -> None:
        if file_limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

    command = [sys.executable, "-c", MIGRATE, f"sqlite:///{path}", str(die_before)]
    return subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=limit)


def find_difference(before: Any, now: Any, where: str = "") -> str | None:
    """Return where two answers differ by more than rounding, None where they don't.

    What this release tells besides is no difference.
    """
    if isinstance(before, dict) and isinstance(now, dict):
        pairs = [(f"{where}.{key}", value, now.get(key)) for key, value in before.items()]
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = [(f"{where}[{row}]", *pair) for row, pair in enumerate(zip(before, now, strict=True))]
    elif isinstance(before, float) and isinstance(now, float):
        return None if before == pytest.approx(now, rel=1e-9, abs=1e-12) else f"{where}: {before} {now}"
    else:
        return None if before == now else f"{where}: {before} {now}"
    return next((found for name, *pair in pairs if (found := find_difference(*pair, name))), None)


def count_rows(path: Path) -> dict[str, int]:
    with closing(sqlite3.connect(path)) as connection:
        return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in TABLES}


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def read_version(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])
