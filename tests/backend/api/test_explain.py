"""An epoch explained over HTTP: which one, from which records, for which framework."""

from typing import Any

import pytest
from starlette.testclient import TestClient

KEYS = set(
    "run name series epoch pass_no complete reduction weight_unit weight_source traits label batches "
    "batches_seen items items_seen weight batch_size last_batch_size nonfinite empty steps accumulation "
    "ranks rank_spread coverage resolution std_error std_error_detrended views artefacts printed "
    "notes".split()
)
BS3 = [(11 / 3, 3), (3.0, 3), (2.0, 2)]


def rows(epoch: int | None = 0, **more: Any) -> list[dict[str, Any]]:
    """Return the seed's items at batch size 3."""
    return [
        {"epoch": epoch, "batch": batch, "loss": loss, "batch_size": size} | more
        for batch, (loss, size) in enumerate(BS3)
    ]


def send(service: TestClient, records: list[dict[str, Any]], **more: Any) -> None:
    service.put("/api/v1/runs/r", json=more)
    assert service.post("/api/v1/runs/r/records", json={"records": records}).status_code == 200


def explain(service: TestClient, epoch: int | str = 0, query: str = "") -> dict[str, Any]:
    answer = service.get(f"/api/v1/runs/r/epochs/{epoch}/explain{query}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_answer_has_every_key_of_the_wire(service: TestClient) -> None:
    send(service, rows())
    told = explain(service)
    assert set(told) == KEYS
    assert set(told["views"][0]) == {"view", "label", "value", "formula", "worked", "meaning"}
    assert set(told["artefacts"][0]) == {"code", "view", "size", "message"}
    assert {"tool", "versions", "what", "formula", "reason", "is_yours"} <= set(told["printed"][0])


def test_every_view_has_the_value_that_epochs_tells(service: TestClient) -> None:
    send(service, rows())
    (epoch,) = service.get("/api/v1/runs/r/epochs").json()["epochs"]
    told = explain(service)
    assert {view["view"]: view["value"] for view in told["views"]} == {
        view: epoch[view]
        for view in (
            "raw_sum", "normalized_sum", "batch_mean", "per_item", "size_weighted", "step_objective", "total",
        )
    }  # fmt: skip
    for key in KEYS & set(epoch):
        assert told[key] == epoch[key], key


def test_windows_of_unequal_size_are_read_from_their_records(service: TestClient) -> None:
    steps = [0, 0, 0, 1]  # two steps of four batches: their sums alone would read as two windows of two
    records = [
        {"epoch": 0, "batch": batch, "loss": loss, "batch_size": 2, "step": step}
        for batch, (loss, step) in enumerate(zip([1.0, 2.0, 3.0, 6.0], steps, strict=True))
    ]
    send(service, records)
    (view,) = [view for view in explain(service)["views"] if view["view"] == "step_objective"]
    assert view["value"] == pytest.approx(4.0)
    assert view["worked"] == "(2 + 6) ÷ 2 = 4"
    assert service.get("/api/v1/runs/r/epochs").json()["epochs"][0]["step_objective"] == pytest.approx(4.0)


def test_short_last_batch_is_told_with_its_size(service: TestClient) -> None:
    send(service, rows())
    artefacts = {(each["code"], each["view"]): each for each in explain(service)["artefacts"]}
    gap = artefacts["short-last-batch", "batch_mean"]
    assert gap["size"] == pytest.approx(-1 / 9)
    assert "because the last batch holds 2 of 3 items" in gap["message"]


@pytest.mark.parametrize(
    ("frameworks", "yours"),
    [
        ({"keras": "3.14.1", "torch": "2.13.0"}, {"Keras"}),
        ({"transformers": "5.23.0"}, {"Hugging Face Trainer"}),
        ({}, set()),
        ("torch", set()),
        ({"keras": 3}, set()),
    ],
)
def test_what_the_run_used_is_marked_as_yours(service: TestClient, frameworks: Any, yours: set[str]) -> None:
    send(service, rows(), environment={"frameworks": frameworks})
    assert {each["tool"] for each in explain(service)["printed"] if each["is_yours"]} == yours


def test_averages_that_run_on_know_the_epochs_before(service: TestClient) -> None:
    send(service, [*rows(0), *rows(1)])
    (first,) = [each for each in explain(service, 0)["printed"] if each["tool"] == "ignite"][:1]
    (second,) = [each for each in explain(service, 1)["printed"] if each["tool"] == "ignite"][:1]
    # oracle: ignite_running_average
    assert first["values"] == pytest.approx([11 / 3, 274 / 75, 6788 / 1875])
    assert second["values"] == pytest.approx([339487 / 93750, 16916113 / 4687500, 838264537 / 234375000])


def test_last_pass_of_validation_stands_for_its_epoch_unless_another_is_named(service: TestClient) -> None:
    passes = [row for number in (0, 1) for row in rows(0, split="val", pass_no=number)]
    passes[0]["loss"] = 9.0
    send(service, [*rows(), *passes])
    query = "?series=val/loss"
    assert explain(service, 0, query)["pass_no"] == 1
    first = explain(service, 0, f"{query}&pass_no=0")
    assert (first["pass_no"], first["batches"], first["steps"]) == (0, 3, None)
    assert first["views"][0]["value"] == pytest.approx((27 + 9 + 4) / 8)


def test_undeclared_epoch_has_a_name(service: TestClient) -> None:
    send(service, rows(None))
    told = explain(service, "undeclared")
    assert told["epoch"] is None
    values = {view["view"]: view["value"] for view in told["views"]}
    assert (values["per_item"], values["raw_sum"]) == (pytest.approx(3), None)


def test_numbers_that_are_not_finite_are_strings(service: TestClient) -> None:
    send(service, [row | {"loss": 1.7e308} for row in rows()])
    told = explain(service)
    assert {view["view"]: view["value"] for view in told["views"]}["raw_sum"] == "Infinity"


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("7/explain", 404, "train/loss has no epoch 7; it has 0 to 2, 5."),
        ("undeclared/explain", 404, "has no undeclared epoch; it has 0 to 2, 5."),
        ("99999999999/explain", 422, "must be an epoch's number, or undeclared"),
        ("-1/explain", 422, "must be an epoch's number"),
        ("1.5/explain", 422, "must be an epoch's number"),
        ("²/explain", 422, "must be an epoch's number"),
        ("0/explain?pass_no=3", 404, "Epoch 0 of train/loss has no pass 3; it has 0."),
        ("0/explain?pass_no=-1", 422, "pass_no"),
        ("0/explain?series=val/loss", 422, "it has train/loss"),
    ],
)
def test_epoch_that_is_not_there_is_told_with_those_that_are(
    service: TestClient, path: str, status: int, said: str
) -> None:
    send(service, [row for epoch in (0, 1, 2, 5) for row in rows(epoch)])
    answer = service.get(f"/api/v1/runs/r/epochs/{path}")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert said in answer.json()["detail"]


def test_run_that_is_not_there_or_empty_has_nothing_to_explain(service: TestClient) -> None:
    assert service.get("/api/v1/runs/nobody/epochs/0/explain").json()["code"] == "run-not-found"
    service.put("/api/v1/runs/r", json={})
    assert service.get("/api/v1/runs/r/epochs/0/explain").status_code == 404


def test_docs_tell_how_to_ask(service: TestClient) -> None:
    page = service.get("/docs").text
    assert "GET /api/v1/runs/{run}/epochs/{epoch}/explain" in page
    assert "<code>undeclared</code>" in page


def test_mixed_reductions_are_explained_without_a_number(service: TestClient) -> None:
    send(service, [*rows(), *rows(0, reduction="sum", batch=3)[:1]])
    told = explain(service)
    assert told["reduction"] == "unknown"
    assert {view["value"] for view in told["views"]} == {None}


def test_loss_without_batch_size_is_explained_as_undeclared(service: TestClient) -> None:
    send(service, [{"epoch": 0, "batch": 0, "loss": 0.3, "batch_size": None}])
    told = explain(service)
    assert (told["label"], told["std_error_detrended"]) == ("undeclared", None)
