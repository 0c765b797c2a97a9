"""The largest and strangest values that the wire lets in: both databases take them, or say what is wrong."""

import math
from typing import Any

import pytest
from starlette.testclient import TestClient

from lossboard.wire import MAX_POSITION, MAX_SMALL, MAX_TIME_UNIX_S

LARGEST = 1.7976931348623157e308
ROW = {"epoch": 0, "batch": 0, "loss": 1.0, "batch_size": 2}
TAKEN = [
    ("epoch", MAX_SMALL),
    ("batch", MAX_POSITION),
    ("rank", MAX_SMALL),
    ("pass_no", MAX_SMALL),
    ("call", MAX_SMALL),
    ("batch_size", MAX_SMALL),
    ("step", MAX_POSITION),
    ("time", MAX_TIME_UNIX_S),
    ("attempt", MAX_TIME_UNIX_S),
    ("weight", LARGEST),
    ("weight", 5e-324),
    ("divisor", LARGEST),
    ("window_items", LARGEST),
    ("loss", LARGEST),
    ("loss", -LARGEST),
    ("loss", 5e-324),
    ("loss", "NaN"),
    ("loss", "Infinity"),
    ("loss", "-Infinity"),
]


def post(service: TestClient, run: str, *rows: dict[str, Any]) -> Any:
    return service.post(f"{run}/records", json={"records": [ROW | row for row in rows]})


def test_largest_value_of_each_key_is_stored_and_comes_back(service: TestClient) -> None:
    for number, (key, value) in enumerate(TAKEN):
        run = f"/api/v1/runs/r{number}"
        service.put(run, json={})
        assert post(service, run, {key: value}).json()["stored"] == 1, (key, value)
        line = service.get(f"{run}/export", params={"format": "jsonl"}).json()
        assert line[key] == value
        for path in ("", "/epochs", f"/epochs/{line['epoch']}/explain"):
            assert service.get(run + path).status_code == 200, (key, value, path)
        for axis in ("epoch", "batch", "items", "step", "time"):
            asked = {"run": f"r{number}", "x": axis}
            assert service.get("/api/v1/curves", params=asked).status_code == 200, (key, value, axis)


def test_sums_beyond_what_a_float_holds_are_stored(service: TestClient, run: str) -> None:
    rows = [
        {"loss": sign * LARGEST, "batch": batch, "batch_size": MAX_SMALL}
        for batch, sign in enumerate([1, 1, -1])
    ]
    assert post(service, run, *rows).status_code == 200
    assert post(service, run, {"batch": 9, "weight": LARGEST, "loss": LARGEST}).status_code == 200
    (epoch,) = service.get(f"{run}/epochs").json()["epochs"]
    assert epoch["batches"] == 4
    assert not isinstance(epoch["batch_mean"], float) or math.isfinite(epoch["batch_mean"])


def test_call_that_has_no_number_left_is_refused_by_name(service: TestClient, run: str) -> None:
    assert post(service, run, {"call": MAX_SMALL}).status_code == 200
    answer = post(service, run, {"batch": 1}, {"call": MAX_SMALL})
    assert (answer.status_code, answer.json()["detail"][:22]) == (422, "call: batch 0 of epoch")
    assert service.get(run).json()["counts"]["records"] == 1, "nothing of the request was stored"


@pytest.mark.parametrize("field", ["name", "project"])
def test_character_that_no_text_holds_is_refused_by_its_field(service: TestClient, field: str) -> None:
    answer = service.put("/api/v1/runs/r", json={field: "a\0b"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


def test_config_may_hold_any_character(service: TestClient) -> None:
    config = {"a\0b": "c\0d", "é": "\U0001f525"}
    assert service.put("/api/v1/runs/r", json={"config": config}).status_code == 201
    assert service.get("/api/v1/runs/r").json()["config"] == config


@pytest.mark.parametrize("question", ["search=%00", "project=%00", "search=%25_", "offset=2147483647"])
def test_odd_questions_are_answered_or_refused(service: TestClient, question: str) -> None:
    assert service.get(f"/api/v1/runs?{question}").status_code in (200, 422)


def test_epoch_beyond_the_column_is_not_there(service: TestClient, run: str) -> None:
    post(service, run, {})
    for epoch in (MAX_SMALL, MAX_SMALL + 1, 10**30, -1, -(2**40)):
        assert service.get(f"{run}/epochs/{epoch}/explain").status_code in (404, 422), epoch


def test_curve_of_a_range_beyond_the_columns_is_drawn(service: TestClient, run: str) -> None:
    post(service, run, {}, {"batch": 1}, {"epoch": 1})
    for axis in ("epoch", "batch", "items", "step", "time"):
        for first, last in ((0, 1e300), (-1e300, 1e300), (2**31, 9e15), (1e18, 1e19), (-5, -1)):
            asked = {"run": "r1", "x": axis, "from": first, "to": last}
            answer = service.get("/api/v1/curves", params=asked)
            assert answer.status_code == 200, (axis, first, last)
