"""Archiving, restoring and deleting by command, with no service running."""

import io

import pytest

from lossboard_server.cli import _tell_retention, main

ROWS = [{"epoch": 0, "batch": batch, "loss": 1.0, "batch_size": 1} for batch in range(50)]


@pytest.fixture
def filled(home):
    """Two runs, of which one still trains."""
    with home.serving() as service:
        for run, state in (("old", "finished"), ("new", "running")):
            service.put(f"/api/v1/runs/{run}", json={"name": f"the {run}\x1b one"})
            service.post(f"/api/v1/runs/{run}/records", json={"records": ROWS, "state": state})
    return home


class Terminal(io.StringIO):
    """Somebody at a keyboard."""

    def isatty(self) -> bool:
        return True


def listed(place, query: str = "") -> list[str]:
    """Return the ids of the runs there."""
    with place.serving() as service:
        return [run["run"] for run in service.get(f"/api/v1/runs{query}").json()["runs"]]


def test_runs_are_archived_and_restored(filled, capsys):
    assert filled.type("archive", "old", "new") == 0
    assert "Archived old (the old? one)" in capsys.readouterr().out
    assert listed(filled) == []
    assert filled.type("restore", "new") == 0
    assert listed(filled) == ["new"]
    assert filled.type("archive", "nobody") == 1
    assert "There is no run nobody" in capsys.readouterr().err
    assert filled.type("archive", "../x") == 1


def test_a_run_is_deleted_only_when_somebody_says_yes(filled, capsys, monkeypatch):
    assert filled.type("delete", "old", "--yes") == 1
    assert "lossboard archive old" in capsys.readouterr().err
    filled.type("archive", "old")
    assert filled.type("delete", "old") == 1
    said = capsys.readouterr()
    assert "--yes" in said.err
    assert "50 records, about" in said.out
    for typed, code in (("\n", 1), ("no\n", 1), ("y\n", 0)):
        monkeypatch.setattr("sys.stdin", Terminal(typed))
        assert filled.type("delete", "old") == code
        assert ("old" in listed(filled, "?archived=with")) == bool(code)
    with filled.serving() as service:
        assert service.get("/api/v1/keeping").json()["deleting"] == [], "the command waited for its rows"


def test_a_run_that_trains_keeps_its_records_and_the_others_go(filled, capsys):
    filled.type("archive", "old", "new")
    assert filled.type("delete", "old", "new", "--yes") == 1
    said = capsys.readouterr()
    assert "new is running" in said.err
    assert "Deleted 1 of 2" in said.out
    assert listed(filled, "?archived=with") == ["new"]


def test_a_command_without_database_and_service_makes_none(home, capsys):
    assert home.type("archive", "old") == 1
    assert "lossboard serve" in capsys.readouterr().err
    assert list(home.folder.iterdir()) == []


def test_a_database_that_another_process_writes_is_left_alone(filled, capsys):
    with filled.serving():
        assert filled.type("archive", "old") == 1
    assert "in use by" in capsys.readouterr().err


def test_help_of_the_commands_names_them_all(capsys):
    assert main([]) == 2
    told = capsys.readouterr().out
    for command in ("archive", "restore", "delete", "export", "import", "backup"):
        assert f"    {command} " in told


def test_runs_lists_the_archive_without_a_service_too(filled, capsys):
    filled.type("archive", "old")
    capsys.readouterr()
    assert filled.type("runs") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["RUN", "new"]
    assert filled.type("runs", "--archived") == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["RUN", "old"]


def test_runs_tells_what_retention_deletes_next():
    due = {"run": "old", "name": "n", "due_unix_s": 0.0, "reason": "its last record is older than 30 days"}
    told = {"keep_days": 30.0, "keep_gb": None, "planned": 1, "next": [due]}
    lines = "\n".join(_tell_retention(told))
    assert "Retention is on (keep days 30)" in lines
    assert "old (n) is deleted now: its last record is older than 30 days" in lines
    assert list(_tell_retention(told | {"keep_days": None})) == []
