"""Following a run: a page that asks only for what is new has the very curves that it would draw anew."""

import math
import random

import pytest
from starlette.testclient import TestClient

from following_pages import Page, post, row, training


@pytest.mark.parametrize("axis", ["epoch", "batch", "items", "step", "time"])
@pytest.mark.parametrize(("epochs", "batches", "val"), [(3, 400, 3), (40, 30, 2), (90, 5, 0), (1, 1200, 0)])
def test_follower_has_the_curves_that_are_drawn_anew(
    service: TestClient, run: str, axis: str, epochs: int, batches: int, val: int
) -> None:
    page = Page(service, f"run=r1&x={axis}&points=2000")
    rows = training(epochs, batches, val=val)
    rng = random.Random(epochs)
    page.ask()
    while rows:
        size = rng.choice([3, 10, 40, 100])
        post(service, "r1", rows[:size])
        rows = rows[size:]
        if rng.random() < 0.6:
            page.ask()
            page.check()
    service.post("/api/v1/runs/r1/records", json={"records": [], "state": "finished"})
    page.ask()
    page.check()
    assert page.resets < page.asked, "and it followed"


@pytest.mark.parametrize(
    "seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(4, 40))]
)
def test_follower_of_an_unruly_run_has_the_curves_that_are_drawn_anew(
    service: TestClient, run: str, seed: int
) -> None:
    rng = random.Random(seed)
    axis = rng.choice(["epoch", "batch", "items", "time", "step"])
    smooth = rng.choice(["", "&smooth=50"]) if axis != "epoch" else ""
    pages = [Page(service, f"run=r1&x={axis}&points={points}{smooth}") for points in (40, 300, 5000)]
    epochs, batches, every = rng.choice([2, 6, 120]), rng.choice([4, 40, 150]), rng.choice([None, 3, 17])
    rows = training(epochs, batches, val=rng.choice([0, 2, 2]), every=every, rank=0)
    if rng.random() < 0.5:
        rows = [each | {"rank": rank} for each in rows for rank in (0, 1)]
    for each in rows:
        if rng.random() < 0.02:
            each["loss"] = rng.choice(["NaN", "Infinity"])
    if rng.random() < 0.5:  # resumed, once it was through
        rows += [each | {"attempt": 1, "time": each["time"] + 1e5} for each in rows[len(rows) // 2 :]]
    late = [rows.pop(rng.randrange(len(rows))) for _ in range(min(20, len(rows) // 2))]
    while rows:
        size = rng.choice([5, 60, 300])
        post(service, "r1", rows[:size] + [late.pop() for _ in range(1) if late and rng.random() < 0.3])
        rows = rows[size:]
        for page in pages:
            if rng.random() < 0.5:
                page.ask()
                page.check()


@pytest.mark.parametrize("every", [None, 20])
@pytest.mark.parametrize("axis", ["epoch", "items", "time"])
def test_validation_makes_no_follower_draw_anew(
    service: TestClient, run: str, axis: str, every: int | None
) -> None:
    page = Page(service, f"run=r1&x={axis}&points=3000")
    rows = training(8, 60, val=5, every=every)
    post(service, "r1", rows[:90])
    page.ask()
    for first in range(90, len(rows), 13):
        post(service, "r1", rows[first : first + 13])
        page.ask()
        page.check()
    assert page.resets == 1


@pytest.mark.parametrize("every", [None, 100])
def test_epoch_of_more_batches_than_points_is_followed_over_epochs(
    service: TestClient, run: str, every: int | None
) -> None:
    page = Page(service, "run=r1&x=epoch&points=100")
    rows = training(3, 450, val=2, every=every)
    post(service, "r1", rows[:300])
    page.ask()
    for first in range(300, len(rows), 60):
        post(service, "r1", rows[first : first + 60])
        page.ask()
    page.check()
    assert page.resets <= 2


def test_follower_pays_for_what_is_new(service: TestClient, run: str) -> None:
    post(service, "r1", training(2, 900))
    page = Page(service, "run=r1&x=items&points=5000")
    page.ask()
    assert (page.told, page.resets) == (1800, 1)
    post(service, "r1", [row(1, batch, at=2000.0 + batch) for batch in range(900, 910)])
    page.ask()
    assert (page.told < 40, page.resets) == (True, 1)
    page.check()


def test_long_epoch_is_followed_over_epochs_too(service: TestClient, run: str) -> None:
    rows = training(1, 300)
    post(service, "r1", rows[:200])
    page = Page(service, "run=r1&x=epoch&points=50")
    page.ask()
    for first in range(200, 300, 10):
        post(service, "r1", rows[first : first + 10])
        page.ask()
    page.check()
    assert page.resets == 1, "the first answer only: records are no points of this axis"


def test_late_record_is_told_from_its_place_on(service: TestClient, run: str) -> None:
    rows = training(2, 300)
    missing = rows.pop(450)
    post(service, "r1", rows)
    page = Page(service, "run=r1&x=batch&points=5000")
    page.ask()
    post(service, "r1", [missing])
    page.ask()
    assert 140 < page.told < 190
    page.check()


def test_run_that_has_not_changed_is_not_told(service: TestClient, run: str) -> None:
    assert service.put("/api/v1/runs/r2", json={}).status_code == 201
    post(service, "r1", training(1, 50))
    post(service, "r2", training(1, 50))
    page = Page(service, "run=r1&run=r2&x=batch")
    page.ask()
    post(service, "r2", [row(0, 50, at=90.0)])
    answer = service.get(f"/api/v1/curves?run=r1&run=r2&x=batch&since={page.cursor}").json()
    assert (answer["reset"], [curve["run"] for curve in answer["curves"]]) == (False, ["r2"])
    assert answer["from_x"] == answer["curves"][0]["from_x"]


def test_cursor_of_another_question_is_answered_with_everything(service: TestClient, run: str) -> None:
    post(service, "r1", training(1, 50))
    cursor = service.get("/api/v1/curves?run=r1&x=batch").json()["cursor"]
    for query in ("x=items", "x=batch&points=20", "x=batch&smooth=9", "x=batch&from=3"):
        assert service.get(f"/api/v1/curves?run=r1&{query}&since={cursor}").json()["reset"], query
    name, (key, version, *rest) = cursor.split("_")[0], cursor.split("_")[1].split(".")
    ahead = f"{name}_{'.'.join([key, str(int(version) + 1), *rest])}"  # of a database that was put back
    for since in ("nonsense", "", "0-0-0", cursor + "_9.9.9.9", "1.1", ahead):
        assert service.get(f"/api/v1/curves?run=r1&x=batch&since={since}").json()["reset"], since


def test_more_epochs_than_points_are_followed_too(service: TestClient, run: str) -> None:
    rows = training(1300, 1)
    post(service, "r1", rows[:1200])
    for axis in ("epoch", "batch"):
        page = Page(service, f"run=r1&x={axis}&points=100")
        page.ask()
        assert page.told == math.ceil(1200 / 16)
    post(service, "r1", rows[1200:1230])
    page.ask()
    assert (page.told < 10, page.resets) == (True, 1)
    page.check()


def test_range_of_epochs_is_told_one_by_one(service: TestClient, run: str) -> None:
    post(service, "r1", training(900, 2))
    whole = service.get("/api/v1/curves?run=r1&points=100").json()["curves"][0]
    part = service.get("/api/v1/curves?run=r1&points=100&from=500&to=520").json()["curves"][0]
    every = service.get("/api/v1/curves?run=r1&points=1000").json()["curves"][0]
    assert (whole["shown"], sum(whole["epochs"]), whole["records"]) == (57, 900, 1800)
    assert (part["x"], part["records"]) == ([float(x) for x in range(500, 522)], 1800)
    assert part["items"] == every["items"][500:522]
    assert part["views"]["raw_sum"] == every["views"]["raw_sum"][500:522]
    own = every["views"]["raw_sum"][16:32]
    assert whole["views"]["raw_sum"][1] == pytest.approx(sum(own) / 16, rel=1e-12)
    band = whole["bands"]["raw_sum"]
    assert (band["low"][1], band["high"][1]) == (min(own), max(own))


def test_what_is_said_of_a_run_and_its_series_reaches_a_follower(service: TestClient, run: str) -> None:
    post(service, "r1", training(2, 20))
    page = Page(service, "run=r1&x=items")
    page.ask()
    assert service.patch(run, json={"name": "other"}).status_code == 200
    page.ask()
    page.check()
    assert service.put(run, json={"name": "third"}).status_code == 200
    page.ask()
    page.check()
    meaning = {"reduction": "mean", "weight_unit": "tokens", "weight_source": "exact"}
    for more in ({}, {"traits": {"dataset_items": 800}}):
        assert service.put(run, json={"series": {"train/loss": meaning | more}}).status_code == 200
        page.ask()
        page.check()
    resets = page.resets
    post(service, "r1", [row(2, 0, at=50.0)])
    page.ask()
    page.ask()
    page.check()
    assert page.resets <= resets + 1


def test_series_that_is_declared_and_has_no_records_yet_costs_a_follower_nothing(
    service: TestClient, run: str
) -> None:
    page = Page(service, "run=r1&x=batch")
    page.ask()
    for name in ("train/loss", "val/loss"):
        declared = {name: {"reduction": "mean", "weight_unit": "items", "weight_source": "exact"}}
        assert service.put(run, json={"series": declared}).status_code == 200
        page.ask()
        page.check()
    rows = training(1, 60)
    post(service, "r1", rows[:30])
    page.ask()
    resets = page.resets
    for first in range(30, 60, 10):
        post(service, "r1", rows[first : first + 10])
        page.ask()
        page.check()
    assert page.resets == resets


def test_epoch_that_is_complete_no_longer_is_told_so(service: TestClient, run: str) -> None:
    def send(writer: str, rank: int, state: str, seq: int, epochs: list[int]) -> None:
        columns = {"epoch": epochs, "batch": [0] * len(epochs), "loss": [1.0] * len(epochs)}
        columns |= {"batch_size": [4] * len(epochs), "index": list(range(seq, seq + len(epochs)))}
        body = {"writer": writer, "seq": seq, "rank": rank, "attempt": 1.0, "state": state}
        answer = service.post(
            f"{run}/records", json=body | {"series": {"train/loss": columns} if epochs else {}}
        )
        assert answer.status_code == 200, answer.text

    page = Page(service, "run=r1&x=epoch")
    send("w0", 0, "running", 0, [0, 1, 2])
    page.ask()
    send("w0", 0, "finished", 3, [])
    page.ask()
    page.check()
    send("w1", 1, "running", 0, [])
    page.ask()
    page.check()
    send("w1", 1, "finished", 0, [0, 1, 2])
    page.ask()
    page.check()


def test_point_of_many_epochs_stays_whose_last_ones_only_another_series_has(
    service: TestClient, run: str
) -> None:
    passes = [row(epoch, 0, at=500.0 + epoch, split="val") for epoch in (33, 37, 97)]
    post(service, "r1", training(100, 1) + passes)
    page = Page(service, "run=r1&x=epoch&points=40")
    page.ask()
    post(service, "r1", [row(39, 1, at=700.0)])
    page.ask()
    page.check()
    assert page.resets == 1


def test_reasons_are_those_of_the_newest_complete_epoch_however_far_back_it_is(
    service: TestClient, run: str
) -> None:
    def train(rank: int, epochs: range) -> list[dict[str, object]]:
        return [
            row(epoch, batch, at=epoch * 10.0 + batch, rank=rank) for epoch in epochs for batch in range(4)
        ]

    post(service, "r1", train(0, range(150)) + train(1, range(60)))  # the second rank hangs
    post(service, "r1", [row(epoch, 0, at=epoch * 10.0 + 5, split="val") for epoch in range(150)])
    page = Page(service, "run=r1&x=items&points=2000")
    page.ask()
    assert "splits-differ" in {warning["code"] for warning in page.warnings}
    post(service, "r1", train(0, range(150, 152)))
    page.ask()
    page.check()
    assert page.resets == 1
    assert page.told < 100, "so the epoch in question was read together with others"
