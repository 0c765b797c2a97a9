"""Validation passes over HTTP: several in an epoch, each where training stood, on every axis."""

from typing import Any

import pytest
from starlette.testclient import TestClient

BATCHES = 8
START = 1e9


def train(epochs: int, *, batches: int = BATCHES, **more: Any) -> list[dict[str, Any]]:
    """Return batches of 4 items, one each 10 s, two to a step; 6 tokens a batch."""
    return [
        {"epoch": epoch, "batch": batch, "loss": 4.0 - epoch, "batch_size": 4, "weight": 6,
         "step": (epoch * BATCHES + batch) // 2, "time": START + 10 * (epoch * BATCHES + batch), **more}
        for epoch in range(epochs)
        for batch in range(batches)
    ]  # fmt: skip


def validation(
    epoch: int, pass_no: int, trained: int, *, loss: float = 2.0, **more: Any
) -> list[dict[str, Any]]:
    """Return a pass of two batches that began 1 s after so many batches of training."""
    time = START + 10 * (trained - 1) + 1
    return [
        {"epoch": epoch, "batch": batch, "loss": loss, "batch_size": 50, "weight": 70, "split": "val",
         "pass_no": pass_no, "time": time + batch, **more}
        for batch in range(2)
    ]  # fmt: skip


def send(service: TestClient, *records: list[dict[str, Any]], run: str = "r", is_over: bool = True) -> None:
    tokens = {"reduction": "mean", "weight_unit": "tokens", "weight_source": "exact"}
    service.put(f"/api/v1/runs/{run}", json={"series": {"train/loss": tokens, "val/loss": tokens}})
    body: dict[str, Any] = {"records": [row for rows in records for row in rows]}
    answer = service.post(
        f"/api/v1/runs/{run}/records", json=body | ({"state": "finished"} if is_over else {})
    )
    assert answer.status_code == 200, answer.text


def read(service: TestClient, query: str, series: str = "val/loss") -> dict[str, Any]:
    curves = service.get(f"/api/v1/curves?run=r&{query}").json()["curves"]
    return next(curve for curve in curves if curve["series"] == series)


@pytest.mark.parametrize(
    ("axis", "xs"),
    [
        ("epoch", [-0.75, -0.5, 0.0, 0.5, 1.0]),
        ("batch", [2, 4, 8, 12, 16]),
        ("items", [8, 16, 32, 48, 64]),
        ("tokens", [12, 24, 48, 72, 96]),
        ("step", [0, 1, 3, 5, 7]),
        ("time", [START + 11, START + 31, START + 71, START + 111, START + 151]),
    ],
)
def test_each_pass_stands_where_training_stood_when_it_began(
    service: TestClient, axis: str, xs: list[float]
) -> None:
    passes = [
        *validation(0, 0, 2), *validation(0, 1, 4), *validation(0, 2, 8, loss=1.0),
        *validation(1, 0, 12), *validation(1, 1, 16),
    ]  # fmt: skip
    send(service, train(2), passes)
    curve = read(service, f"x={axis}")
    assert curve["x"] == pytest.approx(xs)
    view = "per_item" if axis == "epoch" else "batch"
    assert curve["views"][view] == [2.0, 2.0, 1.0, 2.0, 2.0]
    assert curve["epoch"] == [0, 0, 0, 1, 1]


def test_every_view_of_epochs_has_every_pass(service: TestClient) -> None:
    send(service, train(1), validation(0, 0, 2), validation(0, 1, 8, loss=1.0))
    curve = read(service, "x=epoch")
    assert curve["views"]["raw_sum"] == [4.0, 2.0]
    assert curve["views"]["normalized_sum"] == [200.0, 100.0]
    assert curve["views"]["batch_mean"] == curve["views"]["per_item"] == [2.0, 1.0]
    assert curve["items"] == [8, 32], "what training had seen"


def test_epoch_that_runs_is_measured_by_the_last_complete_one(service: TestClient) -> None:
    send(service, train(1), validation(0, 0, 8), is_over=False)
    send(service, train(2)[BATCHES : BATCHES + 4], validation(1, 0, 10), validation(1, 1, 12), is_over=False)
    assert read(service, "x=epoch")["x"] == pytest.approx([0.0, 0.25, 0.5])


def test_passes_without_a_time_are_spread_over_their_epoch(service: TestClient) -> None:
    rows = [{key: value for key, value in row.items() if key != "time"} for row in train(2)]
    passes = [*validation(0, 0, 1), *validation(0, 1, 1), *validation(1, 0, 1)]
    send(service, rows, [{key: value for key, value in row.items() if key != "time"} for row in passes])
    assert read(service, "x=epoch")["x"] == [-0.5, 0.0, 1.0]
    assert read(service, "x=batch")["x"] == [4, 8, 16]


def test_pass_of_a_thinned_curve_stands_between_its_buckets(service: TestClient) -> None:
    send(
        service,
        train(1, batches=4000),
        validation(0, 0, 1003),
        validation(0, 1, 1010),
        validation(0, 2, 4000),
    )
    curve = read(service, "x=batch&points=100")
    assert curve["x"] == [1003, 1010, 4000]
    assert read(service, "x=epoch&points=100")["x"] == pytest.approx([1003 / 4000 - 1, 1010 / 4000 - 1, 0.0])


def test_passes_of_several_ranks_are_one_point(service: TestClient) -> None:
    rows = [row | {"rank": rank} for rank in (0, 1) for row in train(1)]
    passes = [row | {"rank": rank} for rank in (0, 1) for row in validation(0, 0, 4, loss=1.0 + rank)]
    send(service, rows, passes)
    curve = read(service, "x=batch")
    assert (curve["x"], curve["views"]["batch"]) == ([4], [1.5])
    assert read(service, "x=items")["x"] == [32]


def test_run_that_only_validates_stands_on_its_own_data(service: TestClient) -> None:
    send(service, validation(0, 0, 1), validation(1, 0, 2))
    assert read(service, "x=items")["x"] == [100, 200]
    assert read(service, "x=epoch")["x"] == [0.0, 1.0]


def test_smoothed_passes_weigh_by_their_items(service: TestClient) -> None:
    send(service, train(2), validation(0, 0, 8, loss=4.0), validation(1, 0, 16, loss=1.0))
    smooth = read(service, "x=items&smooth=100")["views"]["smooth"]
    assert smooth == [4.0, pytest.approx((4.0 * 0.5 + 1.0) / 1.5)], "each pass of 100 items is one half-life"
