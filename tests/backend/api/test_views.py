"""What the answers tell of ranks, steps and noise, and the smoothed curve."""

import math
from typing import Any

import pytest
from starlette.testclient import TestClient

from lossboard_server.domain.smoothing import smooth


def row(epoch: int, batch: int, loss: float, size: int = 2, **more: Any) -> dict[str, Any]:
    return {"epoch": epoch, "batch": batch, "loss": loss, "batch_size": size} | more


def send(service: TestClient, rows: list[dict[str, Any]], run: str = "r", **more: Any) -> None:
    service.put(f"/api/v1/runs/{run}", json=more)
    answer = service.post(f"/api/v1/runs/{run}/records", json={"records": rows, "state": "finished"})
    assert answer.status_code == 200, answer.text


def read(service: TestClient, query: str) -> dict[str, Any]:
    (curve,) = service.get(f"/api/v1/curves?run=r&{query}").json()["curves"]
    found: dict[str, Any] = curve
    return found


RANKS = [
    row(0, 0, 4.0, rank=0), row(0, 1, 3.0, rank=0), row(0, 0, 2.0, 1, rank=1), row(0, 1, 1.0, rank=1),
    row(1, 0, 2.0, rank=0), row(1, 0, 1.0, rank=1),
]  # fmt: skip


def test_ranks_and_their_spread_are_told_of_each_epoch(service: TestClient) -> None:
    send(service, RANKS)
    first, second = service.get("/api/v1/runs/r/epochs").json()["epochs"]
    mean = pytest.approx(4 / 3)
    assert first["ranks"] == [
        {"rank": 0, "per_item": 3.5, "batch_mean": 3.5, "batches": 2, "items": 4, "weight": 4.0},
        {"rank": 1, "per_item": mean, "batch_mean": 1.5, "batches": 2, "items": 3, "weight": 3.0},
    ]
    assert first["rank_spread"] == pytest.approx(3.5 - 4 / 3)
    assert second["rank_spread"] == 1.0
    curve = read(service, "x=epoch")
    assert curve["ranks"] == 2
    assert (curve["rank_low"], curve["rank_high"]) == ([pytest.approx(4 / 3), 1.0], [3.5, 2.0])


def test_one_rank_has_no_spread(service: TestClient) -> None:
    send(service, [row(0, 0, 4.0)])
    (epoch,) = service.get("/api/v1/runs/r/epochs").json()["epochs"]
    assert (epoch["ranks"], epoch["rank_spread"], epoch["steps"], epoch["accumulation"]) == (
        [],
        None,
        None,
        None,
    )
    curve = read(service, "x=epoch")
    assert (curve["ranks"], curve["rank_low"], curve["rank_high"]) == (1, None, None)


ACCUMULATED = [row(0, batch, loss, step=batch // 2) for batch, loss in enumerate([4.0, 2.0, 3.0, 1.0, 8.0])]


def test_step_objective_counts_steps_alike_a_leftover_window_too(service: TestClient) -> None:
    send(service, ACCUMULATED)
    (epoch,) = service.get("/api/v1/runs/r/epochs").json()["epochs"]
    assert (epoch["steps"], epoch["accumulation"]) == (3, pytest.approx(5 / 3))
    assert epoch["step_objective"] == pytest.approx((3 + 2 + 8) / 3)
    assert read(service, "x=epoch")["views"]["step_objective"] == [epoch["step_objective"]]
    assert set(read(service, "x=epoch&view=step_objective")["views"]) == {"step_objective"}


def test_validation_makes_no_steps(service: TestClient) -> None:
    send(service, [row(0, batch, 1.0, step=7, split="val") for batch in range(3)])
    (epoch,) = service.get("/api/v1/runs/r/epochs").json()["epochs"]
    assert (epoch["steps"], epoch["accumulation"], epoch["step_objective"]) == (None, None, None)


def test_detrended_error_does_not_take_a_falling_loss_for_noise(service: TestClient) -> None:
    noise = [0.01 if batch % 3 else -0.01 for batch in range(60)]
    send(service, [row(0, batch, 6.0 - batch / 10 + noise[batch]) for batch in range(60)])
    (epoch,) = service.get("/api/v1/runs/r/epochs").json()["epochs"]
    assert epoch["std_error_detrended"] < epoch["std_error"] / 10


def test_only_half_lives_above_0_are_taken(service: TestClient) -> None:
    send(service, [row(0, 0, 1.0)])
    for wrong in ("0", "-5", "NaN", "Infinity", "much"):
        answer = service.get(f"/api/v1/curves?run=r&x=items&smooth={wrong}")
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "smooth"


def test_smoothed_view_comes_only_where_it_is_asked_for(service: TestClient) -> None:
    send(service, [row(0, batch, float(batch)) for batch in range(4)])
    assert set(read(service, "x=items")["views"]) == {"batch", "running"}
    assert set(read(service, "x=items&smooth=4")["views"]) == {"batch", "running", "smooth"}
    assert set(read(service, "x=items&smooth=4&view=smooth")["views"]) == {"smooth"}
    assert "smooth" not in read(service, "x=epoch&smooth=4")["views"]


def test_smoothing_forgets_by_items(service: TestClient) -> None:
    # oracle: item_ema_bs2
    send(service, [row(0, batch, loss) for batch, loss in enumerate([4.5, 3.0, 2.5, 2.0])])
    smoothed = read(service, "x=items&smooth=2")["views"]["smooth"]
    assert smoothed == pytest.approx([9 / 2, 7 / 2, 41 / 14, 73 / 30], rel=1e-12)


def test_nonfinite_batch_has_no_smoothed_value_and_moves_nothing(service: TestClient) -> None:
    send(service, [row(0, batch, loss) for batch, loss in enumerate([4.5, "NaN", 3.0])])  # type: ignore[arg-type]
    assert read(service, "x=items&smooth=2")["views"]["smooth"] == pytest.approx([4.5, None, 3.5])


LONG = [row(epoch, batch, 5 + math.sin(epoch * 300 + batch), 4) for epoch in range(8) for batch in range(300)]


@pytest.mark.parametrize("half_life", [40, 400, 4000])
def test_zoomed_range_is_smoothed_as_the_whole_curve_is(service: TestClient, half_life: float) -> None:
    send(service, LONG)
    exact = smooth([each["loss"] for each in LONG], [4] * len(LONG), half_life)
    part = read(service, f"x=items&smooth={half_life}&points=600&from=7000&to=7100")
    assert (part["epoch"][0], part["epoch"][-1], part["count"][0]) == (5, 5, 1)
    assert (part["batch"][0], part["batch"][-1]) == (240, 287)
    # What came before was followed for ten half-lives; what is older weighs less than a thousandth.
    assert part["views"]["smooth"] == pytest.approx(exact[1740:1788], abs=2e-3)


def test_smoothed_values_reach_no_other_number(service: TestClient) -> None:
    send(service, LONG)
    plain, smoothed = (read(service, f"x=items{more}") for more in ("", "&smooth=99"))
    del smoothed["views"]["smooth"]
    assert plain == smoothed


def test_runs_of_other_accumulation_are_told_apart_on_the_step_axis(service: TestClient) -> None:
    send(service, [row(0, batch, 1.0, step=batch) for batch in range(8)], run="r")
    send(service, [row(0, batch, 1.0, step=batch // 4) for batch in range(8)], run="four")
    told = service.get("/api/v1/curves?run=r&run=four&x=step").json()["warnings"]
    assert [(each["code"], each["views"], each["axes"], each["suggest"]) for each in told] == [
        ("accumulation-differs", ["step_objective"], [], {"view": "per_item"}),
        ("accumulation-differs", [], ["step"], {"x": "items"}),
    ]


def test_coupled_loss_of_train_beside_val_is_never_overlaid_in_silence(service: TestClient) -> None:
    coupled = {"reduction": "unknown", "weight_source": "probed", "traits": {"finding": "batch_coupled"}}
    rows = [row(0, 0, 3.4, 16), row(0, 0, 4.8, 64, split="val")]
    send(service, rows, series={"train/loss": coupled, "val/loss": coupled})
    (warning,) = service.get("/api/v1/curves?run=r").json()["warnings"]
    assert (warning["code"], warning["suggest"]) == ("batch-coupled", {"layout": "side"})
    assert "r in batches of 16; r in val in batches of 64" in warning["message"]


def test_drop_last_is_told_beside_a_run_that_saw_all(service: TestClient) -> None:
    known = {"series": {"train/loss": {"weight_source": "exact", "traits": {"dataset_items": 20}}}}
    send(service, [row(0, batch, 1.0, 8) for batch in range(2)], run="r", **known)
    send(service, [row(0, batch, 1.0, 8 if batch < 2 else 4) for batch in range(3)], run="all", **known)
    told = service.get("/api/v1/curves?run=r&run=all").json()["warnings"]
    (coverage,) = [each for each in told if each["code"] == "coverage-differs"]
    assert "r saw 16 of 20 items (drop_last); all saw all 20 items" in coverage["message"]


def test_raw_sums_of_different_numbers_of_ranks_are_told(service: TestClient) -> None:
    send(service, RANKS[:4], run="two")
    send(service, [row(0, batch, 1.0) for batch in range(4)], run="r")
    told = service.get("/api/v1/curves?run=r&run=two").json()["warnings"]
    (ranks,) = [each for each in told if each["code"] == "world-size-differs"]
    assert "r on 1 rank, 4 batches an epoch; two on 2 ranks, 2 batches an epoch" in ranks["message"]


def test_bfloat16_runs_closer_than_its_steps_are_told(service: TestClient) -> None:
    rough = {"series": {"train/loss": {"traits": {"dtype": "bfloat16"}}}}
    send(service, [row(0, 0, 2.296875), row(0, 1, 2.3125)], run="r", **rough)
    send(service, [row(0, 0, 2.3125), row(0, 1, 2.3125)], run="near", **rough)
    (warning,) = service.get("/api/v1/curves?run=r&run=near").json()["warnings"]
    assert warning["code"] == "resolution"
    assert "0.0156 apart" in warning["message"]


def test_parts_that_miss_their_total_are_told_wherever_one_of_them_is_drawn(service: TestClient) -> None:
    total = {"series": {"train/box": {}, "train/loss": {"traits": {"parts_gap": 0.032}}}}
    send(service, [row(0, 0, 3.0), row(0, 0, 1.0, series="box")], **total)
    for query in ("run=r", "run=r&series=train/loss"):
        (warning,) = service.get(f"/api/v1/curves?{query}").json()["warnings"]
        assert warning["code"] == "parts-disagree"
        assert "r by up to 3.2 %" in warning["message"]
