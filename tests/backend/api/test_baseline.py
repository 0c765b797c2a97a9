"""Curves against a baseline, on the chart or not, over epochs and over what was seen."""

from typing import Any

import pytest
from starlette.testclient import TestClient


@pytest.fixture
def runs(service: TestClient) -> TestClient:
    for run, batch_size, more in (("base", 2, 0.0), ("other", 4, 0.5)):
        assert service.put(f"/api/v1/runs/{run}", json={}).status_code == 201
        rows = [
            {"epoch": epoch, "batch": batch, "loss": 4 - epoch + more, "batch_size": batch_size}
            for epoch in range(3 if run == "other" else 2)
            for batch in range(8 // batch_size)
        ]
        answer = service.post(f"/api/v1/runs/{run}/records", json={"records": rows})
        assert answer.status_code == 200, answer.text
    return service


def ask(service: TestClient, query: str) -> Any:
    return service.get(f"/api/v1/curves?run=other&baseline=base&{query}").json()


def test_epochs_are_compared_one_with_one(runs: TestClient) -> None:
    (curve,) = ask(runs, "x=epoch")["curves"]
    assert curve["views"]["per_item"] == [4.5, 3.5, 2.5]
    assert curve["differences"]["per_item"] == [0.5, 0.5, None], "the baseline had but two"
    assert curve["differences"]["raw_sum"] == [9.0 - 16.0, 7.0 - 12.0, None]


def test_over_items_the_baseline_is_its_line(runs: TestClient) -> None:
    (curve,) = ask(runs, "x=items")["curves"]
    assert curve["x"] == [4, 8, 12, 16, 20, 24]
    assert curve["differences"]["batch"] == [0.5, 0.5, 0.5, 0.5, None, None]


def test_baseline_off_the_chart_is_held_against_it_in_the_warnings(runs: TestClient) -> None:
    answer = ask(runs, "x=epoch&view=raw_sum")
    assert [curve["run"] for curve in answer["curves"]] == ["other"]
    assert {run for warning in answer["warnings"] for run in warning["runs"]} == {"base", "other"}


def test_baseline_lies_nowhere_above_itself(runs: TestClient) -> None:
    answer = runs.get("/api/v1/curves?run=base&run=other&baseline=base&x=items").json()
    own = next(curve for curve in answer["curves"] if curve["run"] == "base")
    assert set(own["differences"]["batch"]) == {0.0}


def test_series_that_the_baseline_lacks_has_no_differences(runs: TestClient) -> None:
    row = {"epoch": 0, "batch": 0, "loss": 1.0, "batch_size": 2, "split": "val"}
    runs.post("/api/v1/runs/other/records", json={"records": [row]})
    told = {curve["series"]: curve["differences"] for curve in ask(runs, "x=epoch")["curves"]}
    assert told["val/loss"] is None
    assert told["train/loss"] is not None


def test_new_records_of_the_baseline_are_an_answer_of_their_own(runs: TestClient) -> None:
    query = "/api/v1/curves?run=other&baseline=base&x=epoch"
    etag = runs.get(query).headers["etag"]
    assert runs.get(query, headers={"If-None-Match": etag}).status_code == 304
    row = {"epoch": 2, "batch": 0, "loss": 2.0, "batch_size": 2}
    runs.post("/api/v1/runs/base/records", json={"records": [row]})
    answer = runs.get(query, headers={"If-None-Match": etag})
    assert answer.json()["curves"][0]["differences"]["per_item"] == [0.5, 0.5, 0.5]


@pytest.mark.parametrize(
    ("query", "status"), [("x=time", 422), ("baseline=none", 404), ("baseline=a/b", 422)]
)
def test_wrong_baseline_is_told(runs: TestClient, query: str, status: int) -> None:
    base = "" if "baseline" in query else "&baseline=base"
    answer = runs.get(f"/api/v1/curves?run=other&{query}{base}")
    assert answer.status_code == status, answer.text
    assert "baseline" in answer.text or "no run" in answer.text or "id" in answer.text
