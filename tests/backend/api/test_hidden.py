"""What a later attempt hides is kept, counted, and shown on demand; what is odd about attempts is said."""

from typing import Any

import pytest
from starlette.testclient import TestClient

BATCHES = 6
START = 1e9
AXES = ("batch", "items", "tokens", "step", "time")


def rows(first: tuple[int, int], last: tuple[int, int], attempt: int, **more: Any) -> list[dict[str, Any]]:
    """Return the batches from `first` up to `last`, which is left out, each with a loss of its own."""
    begin, end = (epoch * BATCHES + batch for epoch, batch in (first, last))
    return [
        {"epoch": number // BATCHES, "batch": number % BATCHES, "loss": 100.0 * attempt + number,
         "batch_size": 4, "weight": 6, "step": number - begin, "time": START + 1000 * attempt + number,
         "attempt": attempt, **more}
        for number in range(begin, end)
    ]  # fmt: skip


def send(service: TestClient, *records: list[dict[str, Any]], run: str = "r") -> None:
    tokens = {"reduction": "mean", "weight_unit": "tokens", "weight_source": "exact"}
    service.put(f"/api/v1/runs/{run}", json={"series": {"train/loss": tokens}})
    for some in records:
        answer = service.post(f"/api/v1/runs/{run}/records", json={"records": some})
        assert answer.status_code == 200, answer.text


def read(service: TestClient, query: str, run: str = "r") -> dict[str, Any]:
    answer: dict[str, Any] = service.get(f"/api/v1/curves?run={run}&{query}").json()
    return answer


def show(service: TestClient, run: str = "r") -> dict[str, Any]:
    answer: dict[str, Any] = service.get(f"/api/v1/runs/{run}").json()
    return answer


def test_hidden_records_come_only_when_asked_for(service: TestClient) -> None:
    send(service, rows((0, 0), (2, 0), 0), rows((1, 2), (2, 0), 1))
    assert "hidden" not in read(service, "x=batch")
    asked = read(service, "x=batch&hidden=show")
    assert asked["curves"] == read(service, "x=batch")["curves"], "never mixed into the visible ones"
    (hidden,) = asked["hidden"]
    assert (hidden["attempt"], hidden["records"], hidden["from_epoch"], hidden["from_batch"]) == (1, 4, 1, 2)
    assert hidden["views"]["batch"] == [8.0, 9.0, 10.0, 11.0]


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("points", [1000, 6])
def test_hidden_stretch_stands_where_it_stood_before_it_was_hidden(
    service: TestClient, axis: str, points: int
) -> None:
    send(service, rows((0, 0), (3, 0), 0), run="seen")
    send(service, rows((0, 0), (3, 0), 0), rows((1, 2), (2, 0), 1))
    (seen,) = read(service, f"x={axis}", "seen")["curves"]
    (hidden,) = read(service, f"x={axis}&points={points}&hidden=show")["hidden"]
    assert sum(hidden["count"]) == 10
    assert set(hidden["x"]) <= set(seen["x"][8:])
    assert hidden["x"][-1] == seen["x"][-1]


def test_hidden_epochs_are_whole_as_they_were_seen(service: TestClient) -> None:
    send(service, rows((0, 0), (3, 0), 0), run="seen")
    send(service, rows((0, 0), (3, 0), 0), rows((1, 2), (2, 0), 1))
    (seen,) = read(service, "x=epoch", "seen")["curves"]
    (hidden,) = read(service, "x=epoch&hidden=show")["hidden"]
    assert hidden["x"] == [1.0, 2.0]
    assert hidden["views"]["raw_sum"] == seen["views"]["raw_sum"][1:]
    assert hidden["complete"] == [True, False]
    told = service.get("/api/v1/runs/r/epochs?hidden=show").json()["hidden"]
    assert [(each["attempt"], each["records"]) for each in told] == [(1, 10)]
    assert [row["raw_sum"] for row in told[0]["epochs"]] == seen["views"]["raw_sum"][1:]


@pytest.mark.parametrize("axis", ["epoch", *AXES])
def test_hidden_epochs_stand_one_by_one_however_many_came_before(service: TestClient, axis: str) -> None:
    def passes(epochs: range, attempt: int) -> list[dict[str, Any]]:
        each = (rows((epoch, 0), (epoch, 1), attempt, split="val") for epoch in epochs)
        return [row | {"time": row["time"] + BATCHES - 0.5} for some in each for row in some]

    send(service, rows((0, 0), (90, 0), 0), passes(range(90), 0), rows((87, 2), (88, 0), 1))
    fine, coarse = (
        {
            hidden["series"]: hidden
            for hidden in read(service, f"x={axis}&points={points}&hidden=show")["hidden"]
        }
        for points in (2000, 5)
    )
    assert fine["val/loss"]["epoch"] == [87, 88, 89]
    for column in ("x", "epoch", "count", "views"):
        assert coarse["val/loss"][column] == fine["val/loss"][column]
    assert sum(coarse["train/loss"]["count"]) == sum(fine["train/loss"]["count"]) > 2 * BATCHES


def test_more_hidden_epochs_than_points_are_drawn_together(service: TestClient) -> None:
    send(service, rows((0, 0), (90, 0), 0), rows((10, 0), (11, 0), 1))
    (hidden,) = read(service, "x=epoch&points=20&hidden=show")["hidden"]
    assert hidden["records"] == 80 * BATCHES
    assert 3 <= len(hidden["x"]) <= 20
    lengths = {len(column) for column in hidden["views"].values()}
    lengths |= {len(side) for band in hidden["bands"].values() for side in band.values()}
    assert lengths == {len(hidden["x"])}


def test_three_nested_attempts_are_hidden_each_where_it_stood(service: TestClient) -> None:
    send(service, rows((0, 0), (3, 0), 0), rows((2, 0), (4, 0), 1), rows((1, 0), (2, 0), 2))
    first, second = read(service, "x=batch&hidden=show")["hidden"]
    assert (first["attempt"], first["x"]) == (1, [7.0, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18])
    assert (second["attempt"], second["x"]) == (2, [13.0, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24])
    assert [(a["records"], a["hidden"]) for a in show(service)["attempts"]] == [(18, 12), (12, 12), (6, 0)]
    assert show(service)["counts"]["hidden"] == 24


def test_series_that_only_the_old_attempt_had_is_hidden_with_it(service: TestClient) -> None:
    send(
        service, rows((0, 0), (1, 0), 0), rows((0, 0), (1, 0), 0, series="train/aux"), rows((0, 0), (1, 0), 1)
    )
    hidden = read(service, "x=epoch&hidden=show")["hidden"]
    assert [(curve["series"], curve["records"]) for curve in hidden] == [("train/loss", 6), ("train/aux", 6)]
    aux = next(curve for curve in read(service, "x=epoch")["curves"] if curve["series"] == "train/aux")
    assert aux["records"] == 0


def test_hidden_validation_is_shown_beside_what_it_validated(service: TestClient) -> None:
    val = [
        {"epoch": 1, "batch": 0, "loss": 70.0 + number, "batch_size": 9, "weight": 9, "split": "val",
         "pass_no": number, "attempt": 0, "time": START + BATCHES + after + 0.5}
        for number, after in enumerate((1, 4))
    ]  # fmt: skip
    send(service, rows((0, 0), (2, 0), 0), val, rows((1, 2), (2, 0), 1))
    answer = read(service, "x=batch&hidden=show")
    visible = next(curve for curve in answer["curves"] if curve["series"] == "val/loss")
    hidden = next(curve for curve in answer["hidden"] if curve["series"] == "val/loss")
    assert (visible["x"], visible["views"]["batch"]) == ([8.0], [70.0])
    assert (hidden["x"], hidden["views"]["batch"], hidden["records"]) == ([11.0], [71.0], 1)


def test_pass_of_an_attempt_that_is_hidden_from_its_start_is_hidden_too(service: TestClient) -> None:
    before = {
        "epoch": 2,
        "batch": 0,
        "loss": 70.0,
        "batch_size": 9,
        "weight": 9,
        "split": "val",
        "attempt": 1,
    }
    send(
        service,
        rows((0, 0), (3, 0), 0),
        rows((2, 3), (3, 0), 1),
        [before | {"time": START + 1000}],
        rows((2, 1), (3, 0), 2),
    )
    curves = read(service, "x=batch")["curves"]
    assert [curve["records"] for curve in curves if curve["series"] == "val/loss"] == [0]


def test_undeclared_epochs_are_hidden_by_their_batches(service: TestClient) -> None:
    first, again = rows((0, 0), (1, 0), 0), rows((0, 4), (1, 0), 1)
    send(service, *([row | {"epoch": None} for row in some] for some in (first, again)))
    answer = read(service, "x=batch&hidden=show")
    assert answer["curves"][0]["views"]["batch"] == [0.0, 1.0, 2.0, 3.0, 104.0, 105.0]
    assert answer["hidden"][0]["views"]["batch"] == [4.0, 5.0]


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("epoch", [0, None], ids=["declared", "undeclared"])
def test_attempt_of_unknown_position_goes_on_behind_those_before_it(
    service: TestClient, axis: str, epoch: int | None
) -> None:
    for started in (0, 1):
        service.put("/api/v1/runs/r", json={"attempt": {"started_unix_s": started}})
    send(service, *([row | {"epoch": epoch} for row in rows((0, 0), (1, 0), attempt)] for attempt in (0, 1)))
    answer = read(service, f"x={axis}")
    (curve,) = answer["curves"]
    assert curve["views"]["batch"] == [*range(6), *range(100, 106)], "one after the other, no zigzag"
    assert curve["x"] == sorted(curve["x"])
    assert curve["epoch"] == [epoch] * 6 + [None if epoch is None else 1] * 6
    assert [warning["code"] for warning in answer["warnings"]].count("position-unknown") == 1


def test_epochs_of_unknown_position_are_not_added_to_those_of_their_number(service: TestClient) -> None:
    for started in (0, 1):
        service.put("/api/v1/runs/r", json={"attempt": {"started_unix_s": started}})
    send(service, rows((0, 0), (2, 0), 0), rows((0, 0), (2, 0), 1))
    told = service.get("/api/v1/runs/r/epochs").json()["epochs"]
    assert [(row["epoch"], row["batches"], row["complete"]) for row in told] == [
        (0, 6, True),
        (1, 6, True),
        (2, 6, True),
        (3, 6, False),
    ]
    why = service.get("/api/v1/runs/r/epochs/2/explain").json()
    assert why["batches"] == 6
    (note,) = show(service)["attempts"][1]["notes"]
    assert note["code"] == "position-unknown"
    assert "Attempt 2 did not say where it goes on" in note["message"]
    assert "counted on from 2" in note["message"]


def test_attempt_that_ended_right_at_the_cut_hides_nothing(service: TestClient) -> None:
    send(service, rows((0, 0), (1, 2), 0), rows((1, 2), (2, 0), 1))
    assert read(service, "x=epoch&hidden=show")["hidden"] == []
    assert service.get("/api/v1/runs/r/epochs?hidden=show").json()["hidden"] == []
    assert show(service)["counts"]["hidden"] == 0


def test_start_told_after_the_records_places_them(service: TestClient) -> None:
    for started in (0, 1):
        service.put("/api/v1/runs/r", json={"attempt": {"started_unix_s": started}})
    send(service, rows((0, 0), (2, 0), 0), rows((1, 0), (2, 0), 1))
    assert show(service)["counts"]["hidden"] == 0
    service.put("/api/v1/runs/r", json={"attempt": {"started_unix_s": 1, "start_epoch": 1}})
    assert show(service)["counts"]["hidden"] == 6
    service.put("/api/v1/runs/r", json={"attempt": {"started_unix_s": 1}})
    assert show(service)["counts"]["hidden"] == 6, "a rank that has not heard of it takes nothing back"


def test_marks_tell_where_attempts_begin_and_what_is_missing(service: TestClient) -> None:
    send(service, rows((0, 0), (2, 0), 0), rows((1, 2), (2, 0), 1), rows((4, 0), (5, 0), 2))
    expected = {
        "batch": [8.0, 12.0],
        "items": [32.0, 48.0],
        "epoch": [1 / 3, 3.0],
        "time": [START + 1008, START + 2024],
    }
    for axis, xs in expected.items():
        marks = read(service, f"x={axis}")["curves"][0]["attempts"]
        assert [mark["x"] for mark in marks] == pytest.approx(xs), axis
        assert [(mark["attempt"], mark["epoch"], mark["batch"], mark["is_gap"]) for mark in marks] == [
            (2, 1, 2, False),
            (3, 4, 0, True),
        ]
    assert [note["code"] for note in show(service)["attempts"][2]["notes"]] == ["gap"]


def test_run_taken_up_that_nobody_knows_says_so(service: TestClient) -> None:
    service.put("/api/v1/runs/r", json={"attempt": {"started_unix_s": 5, "start_epoch": 3}})
    send(service, rows((3, 0), (4, 0), 5))
    (note,) = show(service)["attempts"][0]["notes"]
    assert note["code"] == "nothing-before"
    assert "one may not be synced yet" in note["message"]


def test_attempt_of_a_clock_that_is_behind_is_told(service: TestClient) -> None:
    service.put("/api/v1/runs/r", json={"attempt": {"started_unix_s": 9}})
    service.put("/api/v1/runs/r", json={"attempt": {"started_unix_s": 5, "start_epoch": 1}})
    send(service, rows((0, 0), (2, 0), 9), rows((1, 0), (2, 0), 5))
    codes = [note["code"] for attempt in show(service)["attempts"] for note in attempt["notes"]]
    assert codes == ["nothing-before", "position-unknown"]


def test_two_attempts_that_run_at_once_are_told(service: TestClient) -> None:
    for number, started in enumerate((1.0, 2.0)):
        service.put("/api/v1/runs/r", json={"attempt": {"started_unix_s": started, "start_epoch": number}})
        beat = {"writer": f"w{number}", "attempt": started, "rank": 0, "records": [], "state": "running"}
        service.post("/api/v1/runs/r/records", json=beat)
    send(service, rows((0, 0), (2, 0), 1), rows((1, 0), (2, 0), 2))
    attempts = show(service)["attempts"]
    assert [(attempt["state"], attempt["ranks"]) for attempt in attempts] == [
        ("running", [0]),
        ("running", [0]),
    ]
    assert [note["code"] for note in attempts[1]["notes"]] == ["attempts-overlap"]


def test_older_attempt_synced_late_does_not_rename_the_run(service: TestClient) -> None:
    for started, name in ((2.0, "new"), (1.0, "old")):
        service.put("/api/v1/runs/r", json={"name": name, "attempt": {"started_unix_s": started}})
    assert show(service)["name"] == "new"


def test_start_of_a_hand_typed_attempt_is_its_least_place_of_training(service: TestClient) -> None:
    val = {"epoch": 1, "batch": 0, "loss": 7.0, "batch_size": 9, "weight": 9, "split": "val", "attempt": 1}
    send(service, rows((0, 0), (2, 0), 0), [val], list(reversed(rows((1, 2), (2, 0), 1))))
    assert show(service)["attempts"][1] | {"start_epoch": 1, "start_batch": 2} == show(service)["attempts"][1]
