"""Records over HTTP: what is taken, what is refused by field and row, and that nothing is half stored."""

import gzip
import json
import math
from typing import Any

import pytest
from starlette.testclient import TestClient

GOOD = {"epoch": 0, "batch": 0, "loss": 4.5, "batch_size": 2}


def columns(losses: list[Any], *, seq: int = 0, writer: str = "w1", **more: Any) -> dict[str, Any]:
    """Return a request of our client's form, one record a batch."""
    size = len(losses)
    series = {
        "reduction": "mean",
        "epoch": [0] * size,
        "batch": list(range(seq, seq + size)),
        "loss": losses,
        "batch_size": [2] * size,
        "weight": None,
        "time": [1_700_000_000.0 + index for index in range(size)],
        "index": list(range(seq, seq + size)),
        **more,
    }
    return {"writer": writer, "seq": seq, "attempt": 1.7e9, "rank": 0, "series": {"train/loss": series}}


def count(service: TestClient, run: str) -> int:
    return int(service.get(run).json()["records"])


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"epoch": -1}, "epoch"),
        ({"epoch": 1.5}, "epoch"),
        ({"epoch": True}, "epoch"),
        ({"epoch": 2**70}, "epoch"),
        ({"batch": -1}, "batch"),
        ({"batch": "0"}, "batch"),
        ({"loss": "4.5"}, "loss"),
        ({"loss": None}, "loss"),
        ({"loss": [1.0]}, "loss"),
        ({"loss": 10**400}, "loss"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": 2**70}, "batch_size"),
        ({"batch_size": 1.5}, "batch_size"),
        ({"weight": -1}, "weight"),
        ({"weight": "NaN"}, "weight"),
        ({"divisor": 0}, "divisor"),
        ({"divisor": -4}, "divisor"),
        ({"divisor": "Infinity"}, "divisor"),
        ({"window_items": 0}, "window_items"),
        ({"reduction": "median"}, "reduction"),
        ({"reduction": "sum_over_window"}, "window_items"),
        ({"lr": 0.1}, "lr"),
        ({"series": ""}, "series"),
        ({"series": "a/b", "split": "val"}, "split"),
        ({"series": 7}, "series"),
        ({"time": -1}, "time"),
        ({"time": 1.7e12}, "time"),
        ({"rank": -1}, "rank"),
        ({"attempt": -1}, "attempt"),
        ({"pass_no": 0.5}, "pass_no"),
    ],
)
def test_bad_row_is_refused_by_field_and_row(
    service: TestClient, run: str, change: dict[str, Any], field: str
) -> None:
    body = json.dumps({"records": [GOOD, GOOD | {"batch": 1}, GOOD | {"batch": 2} | change]})
    answer = service.post(f"{run}/records", content=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["errors"][0]["field"] == f"records[2].{field}"
    assert problem["code"] == "invalid-input"
    assert count(service, run) == 0


@pytest.mark.parametrize("key", ["epoch", "batch", "loss", "batch_size"])
def test_missing_field_is_named(service: TestClient, run: str, key: str) -> None:
    row = {name: value for name, value in GOOD.items() if name != key}
    problem = service.post(f"{run}/records", json={"records": [row]}).json()
    assert problem["errors"] == [{"field": f"records[0].{key}", "message": "is missing"}]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"records":"\xff\xfe"}', 400),
        (b"[" * 100_000, 400),
        (b"{", 400),
        (b"[]", 400),
        (b"", 400),
        (b'{"records":[{"epoch":0,"batch":0,"loss":NaN,"batch_size":1}]}', 400),
        (b"{}", 422),
        (b'{"records":{}}', 422),
        (b'{"records":[7]}', 422),
        (b'{"records":[],"rows":[]}', 422),
        (b'{"records":[],"seq":1}', 422),
        (b'{"writer":"a b","records":[]}', 422),
        (b'{"writer":"a","records":[],"state":"sleeping"}', 422),
        (b'{"records":[],"state":[]}', 422),
    ],
)
def test_unreadable_body_is_refused(service: TestClient, run: str, body: bytes, status: int) -> None:
    answer = service.post(f"{run}/records", content=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert count(service, run) == 0


def test_bare_nan_in_the_body_is_told_how_to_send_it(service: TestClient, run: str) -> None:
    body = b'{"records":[{"epoch":0,"batch":0,"loss":NaN,"batch_size":1}]}'
    assert 'as the string "NaN"' in service.post(f"{run}/records", content=body).json()["detail"]


def test_run_that_was_never_made_is_refused_with_the_remedy(service: TestClient) -> None:
    answer = service.post("/api/v1/runs/nobody/records", json={"records": [GOOD]})
    assert answer.status_code == 404
    assert answer.json()["code"] == "run-not-found"
    assert "PUT /api/v1/runs/nobody" in answer.json()["detail"]


@pytest.mark.parametrize("run_id", ["a/b", "a%2Fb", "a b", "ü", "a" * 65, "..", "%2e%2e"])
def test_run_id_that_is_none_is_refused(service: TestClient, run_id: str) -> None:
    answer = service.post(f"/api/v1/runs/{run_id}/records", json={"records": [GOOD]})
    assert 400 <= answer.status_code < 500
    assert answer.headers["content-type"] == "application/problem+json"


def test_nonfinite_losses_are_taken_counted_and_kept_out_of_the_sums(service: TestClient, run: str) -> None:
    losses = [3.0, "NaN", "Infinity", "-Infinity", 1.0]
    rows = [GOOD | {"batch": batch, "loss": loss} for batch, loss in enumerate(losses)]
    assert service.post(f"{run}/records", json={"records": rows}).json()["stored"] == 5
    (epoch,) = service.get(f"{run}/epochs").json()["epochs"]
    assert (epoch["nonfinite"], epoch["batches"], epoch["batches_seen"]) == (3, 2, 5)
    assert (epoch["per_item"], epoch["items"], epoch["items_seen"]) == (2.0, 4, 10)
    (curve,) = service.get(f"/api/v1/curves?run={run[-2:]}&x=batch").json()["curves"]
    assert [event["loss"] for event in curve["events"]] == ["NaN", "Infinity", "-Infinity"]
    assert curve["x"] == [1, 2, 3, 4, 5]


def test_batch_size_zero_beside_nan_counts_as_empty(service: TestClient, run: str) -> None:
    rows = [GOOD, GOOD | {"batch": 1, "loss": "NaN", "batch_size": 0}]
    service.post(f"{run}/records", json={"records": rows})
    (epoch,) = service.get(f"{run}/epochs").json()["epochs"]
    assert (epoch["empty"], epoch["nonfinite"], epoch["per_item"]) == (1, 0, 4.5)


def test_columns_sent_twice_are_stored_once(service: TestClient, run: str) -> None:
    body = columns([4.5, 3.0, 2.5])
    assert service.post(f"{run}/records", json=body).json() == {"stored": 3, "duplicates": 0, "next": 3}
    assert service.post(f"{run}/records", json=body).json() == {"stored": 0, "duplicates": 3, "next": 3}
    overlapping = columns([2.5, 2.0], seq=2)
    assert service.post(f"{run}/records", json=overlapping).json() == {
        "stored": 1,
        "duplicates": 1,
        "next": 4,
    }
    assert count(service, run) == 4


def test_index_above_the_expected_is_a_counted_gap(service: TestClient, run: str) -> None:
    service.post(f"{run}/records", json=columns([1.0], seq=0))
    service.post(f"{run}/records", json=columns([1.0], seq=5))
    assert service.get(run).json()["counts"]["gaps"] == 4


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"loss": [1.0, "two", 3.0]}, "series.train/loss.loss[1]"),
        ({"epoch": [0, 0, 0.5]}, "series.train/loss.epoch[2]"),
        ({"batch_size": [2, 2]}, "series.train/loss.batch_size"),
        ({"batch_size": [2, 0, 2]}, "series.train/loss.batch_size[1]"),
        ({"weight": [1, 1, -2]}, "series.train/loss.weight[2]"),
        ({"weight": [1, 1, "NaN"]}, "series.train/loss.weight[2]"),
        ({"divisor": [1, 0, 1]}, "series.train/loss.divisor[1]"),
        ({"divisor": [-4, 1, 1]}, "series.train/loss.divisor[0]"),
        ({"reduction": "sum_over_window", "window_items": [8, 8, 0]}, "series.train/loss.window_items[2]"),
        ({"reduction": "product"}, "series.train/loss.reduction"),
        ({"reduction": "sum_over_window"}, "series.train/loss.window_items[0]"),
        ({"index": [0, 0, 1]}, "seq"),
        ({"index": [1, 2, 3]}, "seq"),
        ({"colour": [1, 1, 1]}, "series.train/loss.colour"),
        ({"loss": None}, "series.train/loss.loss"),
    ],
)
def test_bad_column_is_refused_by_name_and_row(
    service: TestClient, run: str, more: dict[str, Any], field: str
) -> None:
    answer = service.post(f"{run}/records", json=columns([1.0, 2.0, 3.0]) | {} | {"series": {
        "train/loss": columns([1.0, 2.0, 3.0])["series"]["train/loss"] | more}})  # fmt: skip
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    assert count(service, run) == 0
    assert service.get(run).json()["writers"] == []


def test_calls_are_numbered_by_place_also_between_epochs_passes_and_ranks(
    service: TestClient, run: str
) -> None:
    place = {"loss": 1.0, "batch_size": 2}
    places = [
        place | {"epoch": epoch, "batch": batch, "pass_no": pass_no, "rank": rank, "split": "val"}
        for epoch in (0, 1)
        for batch in (0, 7, 9)
        for pass_no in (0, 2)
        for rank in (0, 1)
    ]
    for rows in (places[::2], places, [*places, places[0]]):
        assert service.post(f"{run}/records", json={"records": rows}).json()["stored"] == len(rows)
    assert service.get(run).json()["records"] == 12 + 24 + 25


def test_same_batch_typed_twice_is_kept_twice(service: TestClient, run: str) -> None:
    for loss in (4.0, 2.0):
        service.post(f"{run}/records", json={"records": [GOOD | {"loss": loss}]})
    (epoch,) = service.get(f"{run}/epochs").json()["epochs"]
    assert (epoch["batches"], epoch["per_item"]) == (2, 3.0)


def test_gzipped_body_is_read(service: TestClient, run: str) -> None:
    body = gzip.compress(json.dumps(columns([1.0])).encode())
    answer = service.post(f"{run}/records", content=body, headers={"Content-Encoding": "gzip"})
    assert answer.json()["stored"] == 1


def test_gzip_bomb_is_refused(service: TestClient, run: str) -> None:
    bomb = gzip.compress(b" " * (64 * 2**20))
    answer = service.post(f"{run}/records", content=bomb, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 413


def test_too_many_records_are_refused_with_the_limit(service: TestClient, run: str) -> None:
    answer = service.post(f"{run}/records", json={"records": [GOOD] * 50_001})
    assert answer.status_code == 413
    assert "50,000" in answer.json()["detail"]


def test_sum_and_mean_of_one_series_keep_their_own_meaning(service: TestClient, run: str) -> None:
    rows = [GOOD | {"loss": 3.0}, GOOD | {"batch": 1, "loss": 6.0, "reduction": "sum"}]
    service.post(f"{run}/records", json={"records": rows})
    (epoch,) = service.get(f"{run}/epochs").json()["epochs"]
    assert epoch["reduction"] == "unknown"
    assert epoch["per_item"] is None, "a mean and a sum have no common number"
    (curve,) = service.get("/api/v1/curves?run=r1&x=batch").json()["curves"]
    assert curve["views"]["batch"] == [3.0, 3.0]


def test_number_without_batch_size_is_drawn_and_not_averaged(service: TestClient, run: str) -> None:
    row = {"epoch": 0, "batch": 0, "loss": 0.3, "batch_size": None}
    service.post(f"{run}/records", json={"records": [row, row | {"batch": 1, "loss": 0.2}]})
    (epoch,) = service.get(f"{run}/epochs").json()["epochs"]
    assert (epoch["per_item"], epoch["raw_sum"]) == (None, None)
    answer = service.get("/api/v1/curves?run=r1&x=batch").json()
    assert answer["curves"][0]["views"]["batch"] == [0.3, 0.2]
    assert [warning["code"] for warning in answer["warnings"]] == ["meaning-undeclared"]


def test_undeclared_epoch_comes_back_as_null(service: TestClient, run: str) -> None:
    service.post(f"{run}/records", json={"records": [GOOD | {"epoch": None}]})
    (epoch,) = service.get(f"{run}/epochs").json()["epochs"]
    assert (epoch["epoch"], epoch["raw_sum"], epoch["normalized_sum"], epoch["per_item"]) == (
        None,
        None,
        None,
        4.5,
    )


def test_later_attempt_hides_what_it_trains_again(service: TestClient, run: str) -> None:
    # oracle: attempt_hides_what_comes_after_its_start
    rows = [GOOD | {"epoch": epoch, "loss": loss} for epoch, loss in enumerate([5.0, 4.0, 3.0])]
    service.post(f"{run}/records", json={"records": [*rows, GOOD | {"epoch": 1, "loss": 3.5, "attempt": 1}]})
    epochs = service.get(f"{run}/epochs").json()["epochs"]
    assert [(epoch["epoch"], epoch["per_item"]) for epoch in epochs] == [(0, 5.0), (1, 3.5)]
    assert count(service, run) == 4, "hidden records are kept"


def test_attempt_in_mid_epoch_cuts_the_epoch_by_its_rows(service: TestClient, run: str) -> None:
    rows = [GOOD | {"batch": batch, "loss": 8.0 - batch} for batch in range(4)]
    again = [GOOD | {"batch": batch, "loss": 1.0, "attempt": 1} for batch in (2, 3)]
    service.post(f"{run}/records", json={"records": rows + again})
    (epoch,) = service.get(f"{run}/epochs").json()["epochs"]
    assert (epoch["batches"], epoch["raw_sum"]) == (4, 8.0 + 7.0 + 1.0 + 1.0)
    (curve,) = service.get("/api/v1/curves?run=r1&x=batch").json()["curves"]
    assert curve["views"]["batch"] == [8.0, 7.0, 1.0, 1.0]


def test_values_survive_to_the_last_bit(service: TestClient, run: str) -> None:
    losses = [math.pi, 5e-324, 1.7976931348623157e308, -1e-17, 0.1]
    rows = [GOOD | {"batch": batch, "loss": loss} for batch, loss in enumerate(losses)]
    service.post(f"{run}/records", json={"records": rows})
    (curve,) = service.get("/api/v1/curves?run=r1&x=batch").json()["curves"]
    assert curve["views"]["batch"] == losses
