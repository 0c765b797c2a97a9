"""A resumed run over HTTP: hidden records, and a course that goes on, on every axis and in every view."""

from typing import Any

import pytest
from starlette.testclient import TestClient

BATCHES = 6
START = 1e9


def rows(
    first: tuple[int, int], last: tuple[int, int], *, attempt: int = 0, loss: float = 3.0, **more: Any
) -> list[dict[str, Any]]:
    """Return the batches from `first` up to `last`, which is left out, of epochs of 6 batches.

    Two batches make a step, counted from the attempt's own start.
    """
    begin, end = (epoch * BATCHES + batch for epoch, batch in (first, last))
    return [
        {"epoch": number // BATCHES, "batch": number % BATCHES, "loss": loss, "batch_size": 4, "weight": 6,
         "step": (number - begin) // 2, "time": START + 1000 * attempt + number, "attempt": attempt, **more}
        for number in range(begin, end)
    ]  # fmt: skip


def send(service: TestClient, *records: list[dict[str, Any]], run: str = "r") -> None:
    tokens = {"reduction": "mean", "weight_unit": "tokens", "weight_source": "exact"}
    service.put(f"/api/v1/runs/{run}", json={"series": {"train/loss": tokens, "val/loss": tokens}})
    body = {"records": [row for some in records for row in some], "state": "finished"}
    answer = service.post(f"/api/v1/runs/{run}/records", json=body)
    assert answer.status_code == 200, answer.text


def read(service: TestClient, run: str, query: str, series: str = "train/loss") -> dict[str, Any]:
    curves = service.get(f"/api/v1/curves?run={run}&{query}").json()["curves"]
    return next(curve for curve in curves if curve["series"] == series)


@pytest.mark.parametrize("cut", [(2, 0), (1, 2), (1, 4)], ids=["epoch boundary", "mid-epoch", "late"])
@pytest.mark.parametrize("crash", [(2, 0), (3, 0)], ids=["crashed there", "crashed later"])
def test_resumed_run_reads_as_one_that_never_stopped(
    service: TestClient, cut: tuple[int, int], crash: tuple[int, int]
) -> None:
    send(service, rows((0, 0), max(cut, crash)), rows(cut, (4, 0), attempt=1), run="resumed")
    send(service, rows((0, 0), (4, 0)), run="whole")
    for axis in ("batch", "items", "tokens", "step"):
        for points in (1000, 6):
            resumed, whole = (read(service, run, f"x={axis}&points={points}") for run in ("resumed", "whole"))
            for key in ("x", "views", "low", "high", "count", "epoch", "batch"):
                assert resumed[key] == whole[key], (axis, points, key)
    resumed, whole = (read(service, run, "x=epoch") for run in ("resumed", "whole"))
    for key in ("x", "views", "count", "items", "complete"):
        assert resumed[key] == whole[key], key
    time = read(service, "resumed", "x=time")["x"]
    assert time == sorted(time)
    told, wanted = (
        service.get(f"/api/v1/runs/{run}/epochs").json()["epochs"] for run in ("resumed", "whole")
    )
    assert told == wanted
    assert [epoch["accumulation"] for epoch in told] == [2.0] * 4


def test_third_attempt_goes_on_after_both_before_it(service: TestClient) -> None:
    send(
        service, rows((0, 0), (2, 4)), rows((1, 2), (3, 0), attempt=1), rows((2, 2), (4, 0), attempt=2)
    )  # fmt: skip
    curve = read(service, "r", "x=step")
    assert curve["x"] == [number // 2 for number in range(4 * BATCHES)]


def test_window_cut_in_two_is_no_longer_one_step(service: TestClient) -> None:
    send(service, rows((0, 0), (0, 6)), rows((0, 3), (1, 0), attempt=1, loss=1.0))
    assert read(service, "r", "x=step")["x"] == [0, 0, 1, 2, 2, 3], "batch 3 is not of batch 2's step"
    (epoch,) = service.get("/api/v1/runs/r/epochs").json()["epochs"]
    assert epoch["step_objective"] == pytest.approx((3 + 3 + 1 + 1) / 4)


def test_steps_that_go_on_by_themselves_are_not_moved(service: TestClient) -> None:
    later = [row | {"step": row["step"] + 6} for row in rows((2, 0), (3, 0), attempt=1)]
    send(service, rows((0, 0), (2, 0)), later)
    assert read(service, "r", "x=step")["x"] == [number // 2 for number in range(3 * BATCHES)]


@pytest.mark.parametrize("axis", ["batch", "items", "tokens"])
def test_attempt_of_unknown_position_hides_nothing(service: TestClient, axis: str) -> None:
    service.put("/api/v1/runs/r", json={"attempt": {"started_unix_s": 0}})
    service.put("/api/v1/runs/r", json={"attempt": {"started_unix_s": 1}})
    send(service, rows((0, 0), (2, 0)), rows((0, 0), (1, 0), attempt=1))
    curve = read(service, "r", f"x={axis}")
    assert curve["records"] == 18
    assert curve["x"] == sorted(curve["x"])


def validation(
    epoch: int, pass_no: int, after: tuple[int, int], loss: float, attempt: int = 0
) -> dict[str, Any]:
    """Return a pass that began half a second after this batch of training."""
    number = after[0] * BATCHES + after[1]
    time = START + 1000 * attempt + number + 0.5
    return {"epoch": epoch, "batch": 0, "loss": loss, "batch_size": 9, "weight": 9, "split": "val",
            "pass_no": pass_no, "time": time, "attempt": attempt}  # fmt: skip


PASSES = [
    validation(0, 0, (0, 5), 9.0),
    validation(1, 0, (1, 1), 8.0),  # before batch 2, where the second attempt begins
    validation(1, 1, (1, 4), 7.0),  # trained again, so hidden
    validation(1, 0, (1, 3), 6.0, attempt=1),
    validation(1, 1, (1, 5), 5.0, attempt=1),
]


@pytest.mark.parametrize(
    ("axis", "xs"),
    [
        ("epoch", [0.0, 1 / 3, 2 / 3, 1.0]),
        ("batch", [6, 8, 10, 12]),
        ("items", [24, 32, 40, 48]),
        ("tokens", [36, 48, 60, 72]),
        ("step", [2, 3, 4, 5]),
        ("time", [START + 5.5, START + 7.5, START + 1009.5, START + 1011.5]),
    ],
)
def test_pass_before_the_cut_stays_and_one_behind_it_is_hidden(
    service: TestClient, axis: str, xs: list[float]
) -> None:
    send(service, rows((0, 0), (2, 0)), rows((1, 2), (2, 0), attempt=1), PASSES)
    curve = read(service, "r", f"x={axis}", "val/loss")
    assert curve["x"] == pytest.approx(xs)
    assert curve["views"]["per_item" if axis == "epoch" else "batch"] == [9.0, 8.0, 6.0, 5.0]


def test_passes_of_two_attempts_with_one_number_are_two_points(service: TestClient) -> None:
    send(service, rows((0, 0), (2, 0)), rows((1, 2), (2, 0), attempt=1), PASSES)
    answer = service.get("/api/v1/runs/r/epochs?series=val/loss").json()["epochs"]
    assert [(epoch["epoch"], epoch["passes"], epoch["per_item"]) for epoch in answer] == [
        (0, 1, 9.0),
        (1, 3, 5.0),
    ]
    newest = service.get("/api/v1/runs/r/epochs/1/explain?series=val/loss&pass_no=0").json()
    assert [view["value"] for view in newest["views"] if view["view"] == "per_item"] == [6.0]


def test_validation_of_a_restart_from_scratch_hides_all_of_the_first(service: TestClient) -> None:
    first = [*rows((0, 0), (1, 0)), validation(0, 0, (0, 5), 9.0)]
    again = [*rows((0, 0), (1, 0), attempt=1), validation(0, 0, (0, 5), 4.0, attempt=1)]
    send(service, first, again)
    assert read(service, "r", "x=epoch", "val/loss")["views"]["per_item"] == [4.0]


def test_epoch_trained_again_is_complete_only_when_its_own_attempt_is_through(service: TestClient) -> None:
    service.put("/api/v1/runs/r", json={})
    for some in (rows((0, 0), (4, 0)), rows((1, 0), (1, 3), attempt=1)):
        service.post("/api/v1/runs/r/records", json={"records": some})
    told = service.get("/api/v1/runs/r/epochs").json()["epochs"]
    assert [(epoch["epoch"], epoch["complete"]) for epoch in told] == [(0, True), (1, False)]


def test_rank_that_did_not_come_back_does_not_keep_epochs_open(service: TestClient) -> None:
    service.put("/api/v1/runs/r", json={})
    two = [row | {"rank": rank} for rank in (0, 1) for row in rows((0, 0), (2, 0))]
    for some in (two, rows((1, 0), (3, 0), attempt=1)):
        service.post("/api/v1/runs/r/records", json={"records": some})
    told = service.get("/api/v1/runs/r/epochs").json()["epochs"]
    assert [(epoch["epoch"], epoch["complete"]) for epoch in told] == [(0, True), (1, True), (2, False)]
