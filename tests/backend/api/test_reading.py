"""Runs, epochs and curves over HTTP."""

from typing import Any

import pytest
from starlette.testclient import TestClient


def post(service: TestClient, run: str, rows: list[dict[str, Any]]) -> None:
    service.put(f"/api/v1/runs/{run}", json={})
    assert service.post(f"/api/v1/runs/{run}/records", json={"records": rows}).status_code == 200


def line(count: int, *, epochs: int = 1, **more: Any) -> list[dict[str, Any]]:
    return [
        {
            "epoch": epoch,
            "batch": batch,
            "loss": 1.0,
            "batch_size": 4,
            "time": 1e9 + epoch * count + batch,
            **more,
        }
        for epoch in range(epochs)
        for batch in range(count)
    ]


@pytest.mark.parametrize(
    ("batch_size", "raw_sum", "normalized_sum", "batch_mean"),
    [(2, 12, 24, 3), (4, 6, 24, 3), (3, 26 / 3, 26, 26 / 9)],
)
def test_seed_reads_back_in_every_view(
    service: TestClient,
    make_seed_rows: Any,
    batch_size: int,
    raw_sum: float,
    normalized_sum: float,
    batch_mean: float,
) -> None:
    post(service, "seed", make_seed_rows(batch_size))
    (epoch,) = service.get("/api/v1/runs/seed/epochs").json()["epochs"]
    assert epoch["raw_sum"] == pytest.approx(raw_sum, rel=1e-15)
    assert epoch["normalized_sum"] == pytest.approx(normalized_sum, rel=1e-15)
    assert epoch["batch_mean"] == pytest.approx(batch_mean, rel=1e-15)
    assert epoch["per_item"] == pytest.approx(3, rel=1e-15)
    assert epoch["total"] == pytest.approx(24, rel=1e-15)


def test_making_a_run_twice_changes_nothing(service: TestClient) -> None:
    series = {"train/loss": {"reduction": "sum", "weight_unit": "tokens", "weight_source": "exact"}}
    spec = {"project": "p", "name": "n", "config": {"lr": 0.1}, "tags": ["a"], "series": series}
    first = service.put("/api/v1/runs/r", json=spec)
    again = service.put("/api/v1/runs/r", json=spec)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json() | {"created": False}
    run = service.get("/api/v1/runs/r").json()
    assert (run["project"], run["name"], run["config"], run["tags"]) == ("p", "n", {"lr": 0.1}, ["a"])
    assert run["series"][0]["reduction"] == "sum"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"names": "x"}, "names"),
        ({"name": 7}, "name"),
        ({"name": ""}, "name"),
        ({"tags": "a"}, "tags"),
        ({"config": [1]}, "config"),
        ({"config": {"a": "b" * 300_000}}, "config"),
        ({"series": {"loss": {}}}, "series.loss.series"),
        ({"series": {"train/loss": {"reduction": "median"}}}, "series.train/loss.reduction"),
        ({"attempt": {"started_unix_s": -1}}, "attempt.started_unix_s"),
        ({"attempt": {"started_unix_s": 1, "start_epoch": 1.5}}, "attempt.start_epoch"),
    ],
)
def test_bad_run_is_refused_by_field_and_not_made(
    service: TestClient, body: dict[str, Any], field: str
) -> None:
    answer = service.put("/api/v1/runs/bad", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    assert service.get("/api/v1/runs/bad").status_code == 404


def test_attempts_are_numbered_by_their_start(service: TestClient) -> None:
    late = service.put("/api/v1/runs/r", json={"attempt": {"started_unix_s": 2e9, "start_epoch": 3}}).json()
    early = service.put("/api/v1/runs/r", json={"attempt": {"started_unix_s": 1e9}}).json()
    again = service.put("/api/v1/runs/r", json={"attempt": {"started_unix_s": 2e9, "start_epoch": 3}}).json()
    assert (late["attempt"], early["attempt"], again["attempt"]) == (1, 1, 2)


def test_runs_are_listed_newest_first_with_search_and_paging(service: TestClient) -> None:
    for name in ("alpha", "beta", "alp%ine"):
        service.put(f"/api/v1/runs/{name.replace('%', '-')}", json={"name": name})
    listed = service.get("/api/v1/runs").json()
    assert [run["name"] for run in listed["runs"]] == ["alp%ine", "beta", "alpha"]
    assert [run["name"] for run in service.get("/api/v1/runs?search=ALP").json()["runs"]] == [
        "alp%ine",
        "alpha",
    ]
    assert [run["name"] for run in service.get("/api/v1/runs?search=p%25").json()["runs"]] == ["alp%ine"]
    page = service.get("/api/v1/runs?limit=1&offset=1").json()
    assert ([run["name"] for run in page["runs"]], page["total"]) == (["beta"], 3)
    assert service.get("/api/v1/runs?limit=0").status_code == 422


def test_listed_run_tells_its_batch_size_level_and_spark(service: TestClient) -> None:
    post(service, "r", [row | {"loss": 1.0 + row["epoch"]} for row in line(3, epochs=50)])
    (run,) = service.get("/api/v1/runs").json()["runs"]
    assert (run["batch_size"], run["epoch"], run["per_item"]) == (4, 49, 50.0)
    assert run["spark"] == [float(level) for level in range(2, 51, 2)], "the whole run, not its tail"


def test_listed_level_of_a_resumed_run_is_that_of_what_is_visible(service: TestClient) -> None:
    post(service, "r", line(1, epochs=100))
    post(service, "r", [row | {"attempt": 1, "loss": 7.0} for row in line(1, epochs=2)])
    (run,) = service.get("/api/v1/runs").json()["runs"]
    assert (run["epoch"], run["per_item"], run["spark"]) == (1, 7.0, [7.0, 7.0])


def test_epoch_is_complete_when_a_later_one_has_begun_or_the_run_has_ended(service: TestClient) -> None:
    post(service, "r", line(2, epochs=2))
    assert [e["complete"] for e in service.get("/api/v1/runs/r/epochs").json()["epochs"]] == [True, False]


def test_validation_of_an_epoch_is_its_last_pass(service: TestClient) -> None:
    # oracle: two_validation_passes
    rows = [
        {"epoch": 0, "batch": 0, "loss": 4.0, "batch_size": 2},
        {"epoch": 0, "batch": 0, "loss": 4.0, "batch_size": 2, "split": "val", "pass_no": 0},
        {"epoch": 0, "batch": 1, "loss": 3.0, "batch_size": 2},
        {"epoch": 0, "batch": 0, "loss": 2.0, "batch_size": 2, "split": "val", "pass_no": 1},
        {"epoch": 0, "batch": 1, "loss": 3.0, "batch_size": 1, "split": "val", "pass_no": 1},
    ]
    post(service, "r", rows)
    (val,) = service.get("/api/v1/runs/r/epochs?series=val/loss").json()["epochs"]
    assert (val["batches"], val["passes"]) == (2, 2)
    assert val["per_item"] == pytest.approx(7 / 3, rel=1e-15)
    train, validation = service.get("/api/v1/curves?run=r").json()["curves"]
    assert (train["x"], validation["x"]) == ([0.0], [-0.5, 0.0])


def test_ranks_of_unequal_length_sum_batch_by_batch(service: TestClient) -> None:
    rows = [
        {"epoch": 0, "batch": 0, "loss": 4.0, "batch_size": 2, "rank": 0},
        {"epoch": 0, "batch": 1, "loss": 3.0, "batch_size": 2, "rank": 0},
        {"epoch": 0, "batch": 0, "loss": 2.0, "batch_size": 2, "rank": 1},
    ]
    post(service, "r", rows)
    (epoch,) = service.get("/api/v1/runs/r/epochs").json()["epochs"]
    assert (epoch["raw_sum"], epoch["global_batches"], epoch["batches"]) == (6.0, 2, 3)


def test_million_to_one_spike_is_on_the_decimated_curve(service: TestClient) -> None:
    rows = line(20_000)
    rows[13_577]["loss"] = 1e6
    post(service, "r", rows)
    (curve,) = service.get("/api/v1/curves?run=r&x=batch&points=100").json()["curves"]
    assert max(curve["high"]) == 1e6
    assert (curve["records"], sum(curve["count"])) == (20_000, 20_000)
    assert curve["shown"] == len(curve["x"]) <= 100


def test_curves_of_one_question_are_thinned_alike(service: TestClient) -> None:
    post(service, "long", line(3_000))
    post(service, "short", line(90))
    long, short = service.get("/api/v1/curves?run=long&run=short&x=batch&points=100").json()["curves"]
    assert (max(long["count"]), max(short["count"])) == (64, 64)
    (alone,) = service.get("/api/v1/curves?run=short&x=batch&points=100").json()["curves"]
    assert max(alone["count"]) == 1


def test_zooming_in_ends_at_the_records(service: TestClient) -> None:
    post(service, "r", line(300, epochs=10))
    whole = service.get("/api/v1/curves?run=r&x=batch&points=100").json()["curves"][0]
    part = service.get("/api/v1/curves?run=r&x=batch&points=1000&from=650&to=700").json()["curves"][0]
    assert max(whole["count"]) > 1
    assert set(part["count"]) == {1}
    assert (part["x"][0], part["x"][-1], part["epoch"][0]) == (649, 712, 2)
    losses = [row["loss"] for row in line(300)][:49]
    assert part["views"]["running"][0] == pytest.approx(sum(losses) / 49, rel=1e-12)


@pytest.mark.parametrize("batches", [5, 40])
def test_zooming_to_one_of_several_passes_of_an_epoch(service: TestClient, batches: int) -> None:
    passes = [row | {"epoch": None, "pass_no": n} for n in range(3) for row in line(batches)]
    post(service, "r", passes)
    query = f"x=batch&from={batches + 1}&to={3 * batches}&points=4000"
    (part,) = service.get(f"/api/v1/curves?run=r&{query}").json()["curves"]
    (whole,) = service.get("/api/v1/curves?run=r&x=batch&points=4000").json()["curves"]
    assert part["x"] == whole["x"][len(whole["x"]) - len(part["x"]) :]
    assert batches <= whole["shown"] - part["shown"] + 16


def test_more_epochs_than_points_are_drawn_in_buckets_of_epochs(service: TestClient) -> None:
    post(service, "r", line(1, epochs=300))
    (curve,) = service.get("/api/v1/curves?run=r&x=batch&points=10").json()["curves"]
    assert (curve["shown"], sum(curve["count"])) == (5, 300)


@pytest.mark.parametrize("axis", ["batch", "items", "time", "step"])
def test_every_axis_ascends(service: TestClient, axis: str) -> None:
    rows = [row | {"step": 10 * index} for index, row in enumerate(line(5, epochs=3))]
    post(service, "r", rows)
    (curve,) = service.get(f"/api/v1/curves?run=r&x={axis}").json()["curves"]
    assert len(curve["x"]) == 15
    assert curve["x"] == sorted(curve["x"])


def test_tokens_axis_of_a_loss_over_items_is_refused_with_the_axis_that_fits(service: TestClient) -> None:
    post(service, "r", line(1))
    answer = service.get("/api/v1/curves?run=r&x=tokens")
    assert answer.status_code == 422
    assert "x=items" in answer.json()["detail"]


def test_only_the_views_asked_for_are_sent(service: TestClient) -> None:
    post(service, "r", line(1))
    (curve,) = service.get("/api/v1/curves?run=r&view=raw_sum&view=per_item").json()["curves"]
    assert set(curve["views"]) == {"raw_sum", "per_item"}


def test_warning_comes_with_the_runs_own_numbers_and_what_to_do(service: TestClient) -> None:
    post(service, "ten", line(4, epochs=2))
    post(service, "twenty", [row | {"batch_size": 8} for row in line(2, epochs=2)])
    answer = service.get("/api/v1/curves?run=ten&run=twenty").json()
    (warning,) = answer["warnings"]
    assert warning["code"] == "batch-size-differs"
    assert "ten into 4 of 4; twenty into 2 of 8" in warning["message"]
    assert warning["suggest"] == {"view": "per_item"}


def test_unchanged_curves_answer_304_and_a_follower_gets_nothing_anew(service: TestClient) -> None:
    post(service, "r", line(3))
    first = service.get("/api/v1/curves?run=r")
    etag = first.headers["etag"]
    assert service.get("/api/v1/curves?run=r", headers={"If-None-Match": etag}).status_code == 304
    cursor = first.json()["cursor"]
    unchanged = service.get(f"/api/v1/curves?run=r&since={cursor}").json()
    assert (unchanged["reset"], unchanged["curves"]) == (False, [])
    post(service, "r", line(1, series="other"))
    assert service.get("/api/v1/curves?run=r", headers={"If-None-Match": etag}).status_code == 200
    assert service.get(f"/api/v1/curves?run=r&since={cursor}").json()["reset"]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 422),
        ("run=r&x=colour", 422),
        ("run=r&view=median", 422),
        ("run=r&points=3", 422),
        ("run=r&from=NaN", 422),
        ("run=nobody", 404),
        ("run=a%2Fb", 422),
        ("&".join(f"run=r{number}" for number in range(51)), 422),
    ],
)
def test_bad_question_is_refused(service: TestClient, query: str, status: int) -> None:
    post(service, "r", line(1))
    answer = service.get(f"/api/v1/curves?{query}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_series_that_a_run_lacks_is_told_with_those_it_has(service: TestClient) -> None:
    post(service, "r", line(1))
    answer = service.get("/api/v1/runs/r/epochs?series=val/loss")
    assert answer.status_code == 422
    assert "train/loss" in answer.json()["detail"]
