"""Damage that is met while the service runs: what it stands in is told, the rest goes on."""

import json
import sqlite3
import urllib.error
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from processes import Service, refuse_to_serve, running_service

pytestmark = pytest.mark.live


def overwrite_table(database: Path, table: str) -> None:
    """Overwrite the page that a table begins with."""
    with closing(sqlite3.connect(database)) as connection:
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        query = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        page = connection.execute(query, (table,)).fetchone()[0]
    with database.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)


def ask(service: Service, method: str, path: str, body: object = None) -> dict[str, Any]:
    """Ask, and return the answer or the problem."""
    try:
        return dict(
            json.loads(service.fetch(method, path, None if body is None else json.dumps(body).encode()))
        )
    except urllib.error.HTTPError as error:
        with error:
            return dict(json.load(error))


def test_damaged_page_fails_what_needs_it_and_the_service_stays_up(tmp_path: Path) -> None:
    rows = [{"epoch": 0, "batch": batch, "loss": 1.0, "batch_size": 2} for batch in range(3000)]
    with running_service(tmp_path) as service:
        service.send("PUT", "/api/v1/runs/r", {})
        service.send("POST", "/api/v1/runs/r/records", {"records": rows})
        service.stop()
        overwrite_table(tmp_path / "lossboard.db", "buckets")
        service.start()
        for method, path, body in (
            ("GET", "/api/v1/curves?run=r&series=train/loss&x=batch&points=100", None),
            ("POST", "/api/v1/runs/r/records", {"records": rows[:1]}),
        ):
            problem = ask(service, method, path, body)
            assert (problem.get("status"), problem.get("code")) == (500, "storage-damaged"), problem
            assert "lossboard doctor" in problem["detail"]
        assert ask(service, "GET", "/readyz") == {"status": "ready", "storage": "damaged"}
        (epoch,) = ask(service, "GET", "/api/v1/runs/r/epochs?series=train/loss")["epochs"]
        assert epoch["batches_seen"] == 3000
        assert ask(service, "PUT", "/api/v1/runs/other", {})["created"]
        assert "run `lossboard doctor`" in service.log
        assert "Traceback" not in service.log


def test_list_tells_which_runs_are_damaged_and_shows_the_others(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        for run in ("whole", "damaged"):
            service.send("PUT", f"/api/v1/runs/{run}", {})
        rows = [{"epoch": epoch, "batch": 0, "loss": 1.0, "batch_size": 2} for epoch in range(10)]
        service.send("POST", "/api/v1/runs/damaged/records", {"records": rows})
        service.stop()
        overwrite_table(tmp_path / "lossboard.db", "epochs")
        service.start()
        for _ in range(2):
            runs = {run["run"]: run for run in ask(service, "GET", "/api/v1/runs")["runs"]}
            assert [runs[run]["damaged"] for run in ("whole", "damaged")] == [False, True]
            assert (runs["damaged"]["records"], runs["damaged"]["spark"]) == (10, [])
        problem = ask(service, "GET", "/api/v1/runs/damaged")
        assert problem["code"] == "storage-damaged"


def test_damage_that_is_met_at_the_start_ends_it_as_damage(tmp_path: Path) -> None:
    with running_service(tmp_path):
        pass
    overwrite_table(tmp_path / "lossboard.db", "login_codes")
    ended = refuse_to_serve(tmp_path)
    assert ended.returncode == 3
    assert "The database is damaged" in ended.stdout + ended.stderr
    assert "lossboard doctor" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr
