"""Offline attempts synced late and in any order give the same picture."""

import random
from collections.abc import Iterable
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from resumed_runs import Attempt, Request, histories, in_any_order, in_order

AXES = ("epoch", "batch", "items", "tokens", "step", "time")
# What the service's own clock and the pace of arrival tell.
OF_ARRIVAL = (
    *("run", "cursor", "created_unix_s", "last_record_unix_s", "last_record_age_s", "last_seen_age_s"),
    *("usual_interval_s", "stalled_after_s", "lost_after_s", "stored"),
)
numbers = count()


def deliver(service: TestClient, requests: Iterable[Request]) -> str:
    """Send requests to a run of its own and return its path."""
    path = f"/api/v1/runs/r{next(numbers)}"
    service.put(path, json={"name": "a run"})
    for method, body in requests:
        answer = (
            service.put(path, json=body) if method == "PUT" else service.post(f"{path}/records", json=body)
        )
        assert answer.status_code in (200, 201), answer.text
    return path


def read_all(service: TestClient, path: str) -> dict[str, Any]:
    """Return every answer that the service gives about a run."""
    run = path.rpartition("/")[2]
    about = service.get(path).json()
    about["writers"] = sorted(about["writers"], key=lambda writer: writer["writer"])
    del about["stored"]["bytes"]  # the pages that it takes depend on the order
    found = {"run": about}
    for series in (each["series"] for each in about["series"]):
        epochs = service.get(f"{path}/epochs?series={series}&hidden=show").json()
        found[f"epochs {series}"] = epochs
        for row in epochs["epochs"]:
            epoch = "undeclared" if row["epoch"] is None else row["epoch"]
            answer = service.get(f"{path}/epochs/{epoch}/explain?series={series}")
            assert answer.status_code == 200, answer.text
            found[f"why {series} {epoch}"] = answer.json()
    for axis in AXES:
        for more in ("points=1000", "points=12", "points=5&smooth=20&from=30&to=90"):
            asked = f"/api/v1/curves?run={run}&x={axis}&{more}&hidden=show"
            found[f"curves {axis} {more}"] = service.get(asked).json()
    for form in ("csv", "jsonl"):
        found[form] = service.get(f"{path}/export?format={form}").text
    found["list"] = [
        each for each in service.get("/api/v1/runs?limit=500").json()["runs"] if each["run"] == run
    ]
    return {name: without_arrival(answer, run) for name, answer in found.items()}


def without_arrival(answer: Any, run: str) -> Any:
    """Leave out what differs by nature, and the last bits, which depend on the order of merging."""
    if isinstance(answer, dict):
        kept = {key: value for key, value in answer.items() if key not in OF_ARRIVAL}
        return {key: without_arrival(value, run) for key, value in kept.items()}
    if isinstance(answer, list):
        return [without_arrival(value, run) for value in answer]
    if isinstance(answer, float):
        return pytest.approx(answer, rel=1e-9, abs=1e-9)
    return "r" if answer == run else answer


def assert_same(service: TestClient, history: list[Attempt], seed: int) -> None:
    usual = read_all(service, deliver(service, in_order(history)))
    late = read_all(service, deliver(service, in_any_order(history, random.Random(seed))))
    assert usual.keys() == late.keys()
    for name, answer in usual.items():
        assert late[name] == answer, name


# Without shrinking: an example takes a second, and a failing history is as readable as a smaller one.
@settings(
    max_examples=12,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(histories(), st.integers(0, 10**9))
def test_attempts_in_any_order_give_the_same_picture(
    service: TestClient, history: list[Attempt], seed: int
) -> None:
    assert_same(service, history, seed)
