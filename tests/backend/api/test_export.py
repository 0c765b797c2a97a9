"""Exports: every record, in a form that comes back as it went."""

import csv
import io
import json
import math
from typing import Any

import pytest
from starlette.testclient import TestClient

from lossboard import wire

ROWS: list[dict[str, Any]] = [
    {"epoch": 0, "batch": 0, "loss": 0.1, "batch_size": 2, "time": 1e9},
    {"epoch": 0, "batch": 1, "loss": "NaN", "batch_size": 2, "time": 1e9 + 1, "weight": 1.5, "step": 3},
    {"epoch": None, "batch": 2, "loss": "-Infinity", "batch_size": None, "time": 1e9 + 2, "reduction": "sum"},
    {"epoch": 0, "batch": 0, "loss": 7.0, "batch_size": 1, "time": 1e9 + 3, "split": "val", "attempt": 5},
]
WHOLE = {
    "series": "train/parts", "attempt": 5.0, "epoch": 3, "pass_no": 1, "batch": 8, "rank": 2, "call": 4,
    "loss": 0.25, "batch_size": 6, "weight": 90.5, "divisor": 4.0, "window_items": 181.0,
    "reduction": "sum_over_window", "step": 17, "time": 1e9,
}  # fmt: skip


@pytest.fixture
def filled(service: TestClient, run: str) -> str:
    assert service.post(f"{run}/records", json={"records": ROWS}).status_code == 200
    return run


def test_csv_holds_every_record_with_its_numbers_in_full(service: TestClient, filled: str) -> None:
    answer = service.get(f"{filled}/export?format=csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="r1.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert sorted(row["loss"] for row in rows) == ["-Infinity", "0.1", "7.0", "NaN"]
    (nan,) = [row for row in rows if row["loss"] == "NaN"]
    assert (nan["weight"], nan["step"], nan["series"]) == ("1.5", "3", "train/loss")
    assert sum(math.isfinite(float(row["loss"])) for row in rows) == 2


def test_every_field_of_a_record_is_in_both_forms(service: TestClient, run: str) -> None:
    assert {*WHOLE, "split"} == wire.ROW_KEYS, "of which the series' name says the split"
    service.post(f"{run}/records", json={"records": [WHOLE]})
    (line,) = service.get(f"{run}/export?format=jsonl").text.splitlines()
    assert json.loads(line) == WHOLE
    (row,) = csv.DictReader(io.StringIO(service.get(f"{run}/export?format=csv").text))
    assert row == {key: str(value) for key, value in WHOLE.items()}


def test_jsonl_posted_to_another_run_gives_the_same_run(service: TestClient, filled: str) -> None:
    lines = service.get(f"{filled}/export?format=jsonl").text.splitlines()
    service.put("/api/v1/runs/r2", json={})
    body = {"records": [json.loads(line) for line in lines]}
    assert service.post("/api/v1/runs/r2/records", json=body).json()["stored"] == 4
    assert service.get("/api/v1/runs/r2/export?format=jsonl").text.splitlines() == lines


def test_html_stands_alone_and_has_the_switch(service: TestClient, filled: str) -> None:
    page = service.get(f"{filled}/export?format=html").text
    for label in ("Raw sum", "Normalized sum", "Batch mean", "Per item"):
        assert f'"label":"{label}"' in page
    assert len(page) > 3_000_000, "plotly.js is inside"
    assert 'src="http' not in page


def test_unknown_format_and_run_are_refused(service: TestClient, filled: str) -> None:
    assert service.get(f"{filled}/export?format=xls").status_code == 422
    assert service.get("/api/v1/runs/nobody/export?format=csv").status_code == 404
