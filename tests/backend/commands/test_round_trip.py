"""Whole runs out of one store and into another: what comes back is what went."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

RUN = "/api/v1/runs/r"
ABOUT = {
    "name": "Käthe's “run”",
    "project": "digits",
    "config": {"lr": 0.1, "layers": [1, 2], "deep": {"x": None}},
    "tags": ["a", "b c"],
    "environment": {"python": "3.11", "frameworks": {"torch": "2.13"}},
}
TRAITS = {"finding": "mean", "dtype": "float32", "divided_by": 4.0, "dataset_items": 128}
COLUMNS = ("epoch", "batch", "loss", "batch_size", "weight", "step", "time")


def columns(epochs: range, first: int, attempt: float) -> dict[str, Any]:
    """Return what a client sends of some epochs of ten batches, NaN and ±Infinity among the losses."""
    rows = []
    for epoch in epochs:
        for batch in range(10):
            at = epoch * 10 + batch
            loss: Any = {17: "NaN", 33: "Infinity", 34: "-Infinity"}.get(at, 2.0 / (1 + at) + 0.1 * (at % 3))
            rows.append((epoch, batch, loss, 8 if batch < 9 else 5, 7.5 + batch, at, attempt + at * 0.125))
    told = dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True))
    return told | {"index": list(range(first, first + len(rows)))}


def fill(service: TestClient) -> None:
    """Make a run with two ranks, resumed once, with validation and records typed by hand."""
    series = {"train/loss": {"reduction": "mean", "weight_unit": "tokens", "weight_source": "exact"}}
    series["train/loss"]["traits"] = TRAITS
    for number, (attempt, epochs) in enumerate([(1000.5, range(5)), (2000.25, range(3, 7))]):
        start = {
            "started_unix_s": attempt,
            "start_epoch": epochs.start,
            "world_size": 2,
            "resumed": number > 0,
        }
        assert service.put(RUN, json={**ABOUT, "series": series, "attempt": start}).status_code in (200, 201)
        for rank in (1, 0):
            head = {"writer": f"w{number}-{rank}", "attempt": attempt, "rank": rank}
            sent = {"seq": 3, "series": {"train/loss": columns(epochs, 3, attempt)}, "sent": attempt + 60}
            assert service.post(f"{RUN}/records", json=head | sent).status_code == 200
            end = {"records": [], "state": "finished", "dropped": {"disk": 2}}
            assert service.post(f"{RUN}/records", json=head | end).status_code == 200
    rows = [
        {"epoch": epoch, "batch": batch, "loss": 1.0 / (epoch + batch + 1), "batch_size": 4, "split": "val",
         "attempt": 2000.25, "pass_no": pass_no, "time": 2000.25 + epoch, "divisor": 2.0}
        for epoch in range(3, 6) for pass_no in (0, 1) for batch in range(3)
    ]  # fmt: skip
    odd = {"attempt": 2000.25, "rank": 1, "time": 1e9}
    rows += [
        {"epoch": None, "batch": 0, "loss": 1e-320, "batch_size": None, "series": "odd/a,b\"c", **odd},
        {"epoch": 0, "batch": 0, "loss": "NaN", "batch_size": 0, "series": "odd/a,b\"c", "call": 7, **odd},
        {"epoch": 0, "batch": 1, "loss": 0.1, "batch_size": 3, "reduction": "sum_over_window",
         "window_items": 3.5, "series": "odd/\u2028x", **odd},
        {"epoch": 9, "batch": 1, "loss": 7.0, "batch_size": 3, "reduction": "sum", **odd},
    ]  # fmt: skip
    assert service.post(f"{RUN}/records", json={"records": rows}).status_code == 200
    edit = {"notes": "line\n\ttab", "colour": "#0a0b0c", "name": "renamed", "archived": True}
    assert service.patch(RUN, json=edit).status_code == 200


def answers(service: TestClient) -> list[Any]:
    """Return all that the page asks of the run."""
    shown = service.get(RUN).json()
    shown = {key: shown[key] for key in ("state", "ranks", "series", "counts", "config", "tags", "attempts")}
    asked = [
        service.get("/api/v1/curves", params={"run": "r", "series": name, "x": x}).json()
        for name in ("train/loss", "val/loss", 'odd/a,b"c')
        for x in ("epoch", "batch", "items", "step", "time")
    ]
    for answer in asked:
        answer.pop("cursor", None)
    epochs = [
        service.get(f"{RUN}/epochs", params={"series": name}).json() for name in ("train/loss", "val/loss")
    ]
    return [shown, asked, epochs]


@pytest.mark.parametrize("file_format", ["csv", "jsonl", "parquet"])
def test_a_run_comes_back_as_it_went(home, away, tmp_path, file_format):
    with home.serving() as service:
        fill(service)
        told = answers(service)
    first, second = tmp_path / f"r.{file_format}", tmp_path / "again" / f"r.{file_format}"
    second.parent.mkdir()
    assert home.type("export", "r", "--format", file_format, "-o", str(first)) == 0
    assert away.type("import", str(first)) == 0
    assert away.type("export", "r", "--format", file_format, "-o", str(second)) == 0
    assert second.read_bytes() == first.read_bytes()
    if file_format != "parquet":
        sidecar = Path("r.run.json")
        assert (second.parent / sidecar).read_bytes() == (first.parent / sidecar).read_bytes()
        assert json.loads((first.parent / sidecar).read_text())["records"] == 202
    with away.serving() as service:
        assert answers(service) == told
    assert away.type("doctor") == 0


def test_records_from_elsewhere_are_no_damage_and_lost_ones_of_them_are(away, tmp_path, capsys):
    file = tmp_path / "mine.csv"
    file.write_text("epoch,batch,loss,batch_size\n" + "".join(f"0,{batch},1.5,4\n" for batch in range(5)))
    assert away.type("import", str(file)) == 0
    assert away.type("doctor") == 0
    with closing(sqlite3.connect(away.folder / "lossboard.db")) as database, database:
        database.execute("DELETE FROM records WHERE batch = 3")
    assert away.type("doctor") == 1
    assert "5 records were acknowledged, and 4 are there" in capsys.readouterr().out


def test_imported_again_nothing_changes(home, away, tmp_path, capsys):
    with home.serving() as service:
        fill(service)
    file = tmp_path / "r.jsonl"
    home.type("export", "r", "--format", "jsonl", "-o", str(file))
    assert away.type("import", str(file)) == 0
    with away.serving() as service:
        service.patch(RUN, json={"name": "mine", "archived": False})
        told = service.get(RUN).json()
    assert away.type("import", str(file)) == 0
    assert "already" in capsys.readouterr().out
    with away.serving() as service:
        after = service.get(RUN).json()
    assert {key: after[key] for key in ("name", "records", "archived_unix_s")} == {
        key: told[key] for key in ("name", "records", "archived_unix_s")
    }
