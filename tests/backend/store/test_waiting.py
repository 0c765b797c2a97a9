"""Readers and the writer wait for nobody: not for each other, and not for long for another program."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text
from starlette.testclient import TestClient

from lossboard_server.app import create_app
from lossboard_server.settings import Settings

BASE_URL = "http://127.0.0.1:8765"
ROWS = [{"epoch": 0, "batch": batch, "loss": 1.0, "batch_size": 2} for batch in range(50)]
ANSWER_TIMEOUT_S = 10.0
READS = (
    "/api/v1/curves?run=r&series=train/loss&x=batch",
    "/api/v1/runs/r/epochs?series=train/loss",
    "/api/v1/runs",
    "/api/v1/runs/r/export?format=jsonl",
)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[TestClient]:
    """Serve a SQLite file with a run in it."""
    settings = Settings.resolve({"dir": str(tmp_path), "no_token": "true", "readers": "0"}, {})
    with TestClient(create_app(settings), base_url=BASE_URL) as client:
        client.put("/api/v1/runs/r", json={})
        client.post("/api/v1/runs/r/records", json={"records": ROWS})
        yield client


@contextmanager
def writing(service: TestClient) -> Iterator[None]:
    """Hold the writer in the middle of a transaction that has changed what readers read."""
    is_in, gate = threading.Event(), threading.Event()

    def work(connection: Connection) -> tuple[None, list[Any]]:
        connection.execute(text("UPDATE runs SET name = 'half written'"))
        is_in.set()
        gate.wait(60)
        return None, []

    answer = service.app.state.store.write(work)  # type: ignore[attr-defined]
    assert is_in.wait(ANSWER_TIMEOUT_S)
    try:
        yield
    finally:
        gate.set()
        answer.result(ANSWER_TIMEOUT_S)


def test_readers_are_answered_while_the_writer_is_in_its_transaction(service: TestClient) -> None:
    with writing(service), ThreadPoolExecutor(len(READS)) as pool:
        asked = [pool.submit(service.get, path) for path in READS]
        answers = [each.result(ANSWER_TIMEOUT_S) for each in asked]
        assert [answer.status_code for answer in answers] == [200] * len(READS)
        assert "half written" not in "".join(answer.text for answer in answers)
    assert "half written" in service.get("/api/v1/runs").text


def test_writer_commits_while_a_reader_stands_in_the_database(service: TestClient) -> None:
    with service.app.state.store.reading() as connection:  # type: ignore[attr-defined]
        count = text("SELECT count(*) FROM records")
        assert connection.execute(count).scalar() == 50
        assert service.post("/api/v1/runs/r/records", json={"records": ROWS}).json()["stored"] == 50
        assert connection.execute(count).scalar() == 50
    assert service.get("/api/v1/runs/r").json()["records"] == 100


def test_program_that_holds_the_file_for_a_moment_delays_a_request_and_fails_none(
    service: TestClient, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "lossboard.db", isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(1) as pool:
            sent = pool.submit(service.post, "/api/v1/runs/r/records", json={"records": ROWS})
            for path in READS:
                assert service.get(path).status_code == 200
            assert not sent.done()
            shell.execute("COMMIT")
            assert sent.result(ANSWER_TIMEOUT_S).json()["stored"] == 50
