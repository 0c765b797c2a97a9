"""Ranges: what a zoom shows is a part of the whole curve at the same width, down to the records."""

import random
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pytest
from sqlalchemy import Connection
from starlette.testclient import TestClient

from lossboard_server.api.views.drawing import Request, RunDrawing
from lossboard_server.domain.points import MAX_EVENTS
from lossboard_server.store.store import Store
from lossboard_server.store.writing.register import find_run

AXES = ("batch", "items", "step", "time")
EVERY = 100_000  # points; more than any run here has
COLUMNS = ("x", "low", "high", "count", "nonfinite", "epoch", "batch")


def some_rows(rng: random.Random) -> list[dict[str, Any]]:
    """Return a training that is as hard to find one's way in as they come."""
    rows: list[dict[str, Any]] = []
    now = 0.0
    has_step, has_time = rng.random() < 0.7, rng.random() < 0.8
    sizes = rng.choice([[4], [4, 4, 1], [None], [3, 7]])
    first, is_undeclared = 0, rng.random() < 0.15
    for attempt in range(rng.choice([1, 1, 2, 3])):
        start = rng.choice([0, 5, 16, 40, 70]) if attempt else 0
        epochs = range(first, first + rng.choice([1, 3, 8]) * rng.choice([1, 1, 3]), rng.choice([1, 1, 2]))
        for epoch in epochs:
            stride = rng.choice([1, 1, 1, 3, 40])
            begin = start if epoch == first else rng.choice([0, 0, 0, 33])
            for batch in range(begin, begin + rng.choice([1, 15, 40, 130, 300]) * stride, stride):
                now += 1
                loss = rng.choice(["NaN", "Infinity"]) if rng.random() < 0.02 else rng.uniform(0.5, 2)
                size = 0 if loss == "NaN" and rng.random() < 0.3 else rng.choice(sizes)
                row = {
                    "epoch": None if is_undeclared else epoch,
                    "batch": batch,
                    "loss": loss,
                    "batch_size": size,
                }
                row |= {"attempt": attempt} if attempt else {}
                row |= {"step": len(rows)} if has_step and rng.random() < 0.9 else {}
                row |= {"time": now} if has_time else {}
                rows.append(row)
            if is_undeclared:
                break
        first = rng.choice(epochs)
    if rng.random() < 0.3:
        more = [row | {"rank": 1} for row in rows if rng.random() < 0.9]
        rows = [row | {"rank": 0} for row in rows] + more
    if rng.random() < 0.2:
        rows += [row | {"pass_no": 1} for row in rows]
    return rows


def draw(connection: Connection, wanted: Request, width: int = 1) -> tuple[dict[str, Any], int]:
    """Return the curve of the one training series, and its width in batches."""
    wanted.least_width = width
    drawing = RunDrawing(connection, find_run(connection, "r1"), wanted)
    wanted.least_width = max(width, drawing.width())
    (curve,) = drawing.curves()
    return curve, wanted.least_width


def points_of(curve: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    columns = [curve[name] for name in COLUMNS] + [curve["views"][name] for name in ("batch", "running")]
    for values in zip(*columns, strict=True):
        yield tuple(round(v, 6) if isinstance(v, float) else v for v in values)


@pytest.mark.parametrize("seed", range(12))
def test_range_is_a_part_of_the_whole_curve(service: TestClient, run: str, seed: int) -> None:
    rng = random.Random(seed)
    rows = some_rows(rng)
    for first in range(0, len(rows), 4000):
        answer = service.post(f"{run}/records", json={"records": rows[first : first + 4000]})
        assert answer.status_code == 200, answer.text
    store: Store = service.app.state.store  # type: ignore[attr-defined]
    with store.reading() as connection:
        for axis in AXES:
            wholes: dict[int, list[tuple[Any, ...]]] = {}
            every, _ = draw(connection, Request(axis, points=EVERY))
            known = [x for x in every["x"] if x is not None]
            ends = (min(known, default=0.0), max(known, default=1.0))
            for _ in range(12):
                a, b = sorted(rng.uniform(ends[0] - 2, ends[1] + 2) for _ in range(2))
                if rng.random() < 0.5:
                    b = a + (b - a) / 20
                if known and rng.random() < 0.3:
                    a, b = sorted(rng.choices(known, k=2))
                first_x, last_x = rng.choice([(a, b), (a, b), (a, b), (a, None), (None, b)])
                points = rng.choice([10, 40, 200, 1000])
                told, width = draw(connection, Request(axis, points=points, first_x=first_x, last_x=last_x))
                assert len(told["x"]) <= points + 2, (axis, first_x, last_x, points)
                parts = list(points_of(told))
                if width not in wholes:
                    whole, _ = draw(connection, Request(axis, points=EVERY), width)
                    wholes[width] = list(points_of(whole))
                if not parts or parts[0] in wholes[width]:
                    assert_part(parts, wholes[width], first_x, last_x)
                    continue
                assert width == 1
                merged = [(*point[:5], point[6]) for point in parts]
                spans = (merge_epochs(every, span) for span in (1, 4, 16))
                part_of = next(whole for whole in spans if merged[0] in whole)
                assert_part(merged, part_of, first_x, last_x)


def merge_epochs(every: dict[str, Any], span: int) -> list[tuple[Any, ...]]:
    """Return the points of a curve of single records, those of `span` epochs as one."""
    merged = []
    for _, group in groupby(points_of(every), lambda point: max(point[5] or 0, 0) // span):
        points = list(group)
        weighted = [y for y in (point[1] for point in points) if y is not None]
        merged.append(
            (
                points[-1][0],
                *(choose(weighted, default=None) for choose in (min, max)),
                *(sum(point[at] for point in points) for at in (3, 4)),
                points[-1][6],
            )
        )
    return merged


def assert_part(
    told: list[tuple[Any, ...]], whole: list[tuple[Any, ...]], first_x: float | None, last_x: float | None
) -> None:
    """A range holds the points of its whole that lie in it, and of those beside it none that is moved."""
    inside = [n for n, point in enumerate(whole) if is_inside(point[0], first_x, last_x)]
    if not told:
        assert not inside
        return
    assert told[0] in whole
    at = whole.index(told[0])
    assert told == whole[at : at + len(told)]
    assert all(at <= n < at + len(told) for n in inside)


def is_inside(x: float | None, first_x: float | None, last_x: float | None) -> bool:
    return x is not None and (first_x is None or first_x <= x) and (last_x is None or x <= last_x)


@pytest.mark.parametrize("axis", ["batch", "items"])
def test_validation_beside_a_range_stands_where_the_whole_chart_has_it(
    service: TestClient, run: str, axis: str
) -> None:
    rows, now = [], 0.0
    for epoch in range(3):
        for batch in range(200):
            now += 1
            rows.append({"epoch": epoch, "batch": batch, "loss": 1.0, "batch_size": 1, "time": now})
            if batch % 30 == 29:
                told = {"split": "val", "pass_no": batch // 30, "time": now + 0.5}
                rows.append(rows[-1] | told | {"batch": 0})
    assert service.post(f"{run}/records", json={"records": rows}).status_code == 200

    def places(query: str) -> list[float]:
        answer = service.get(f"/api/v1/curves?run=r1&x={axis}&{query}").json()
        return next(curve["x"] for curve in answer["curves"] if curve["series"] == "val/loss")

    every = places("points=1000")
    assert every[:7] == [30 + 30 * number for number in range(6)] + [230]
    for limits in ("from=250&to=280", "from=1&to=35", "to=31", "from=595", "from=290&to=410"):
        assert places(f"points=1000&{limits}") == every, limits
        assert places(f"points=40&{limits}") == pytest.approx(every, abs=64), limits


def test_range_tells_the_records_in_it_that_are_not_finite_however_many_came_later(
    service: TestClient, run: str
) -> None:
    rows = [
        {"epoch": 0, "batch": n, "loss": "NaN" if n == 100 or n >= 3000 else 1.0, "batch_size": 1}
        for n in range(3000 + MAX_EVENTS)
    ]
    assert service.post(f"{run}/records", json={"records": rows}).status_code == 200
    for points in (4, 20, 1000):
        query = f"run=r1&x=batch&points={points}&from=90&to=200"
        (curve,) = service.get(f"/api/v1/curves?{query}").json()["curves"]
        assert [event["batch"] for event in curve["events"]] == [100], points


@pytest.mark.parametrize("query", ["from=30&to=10", "from=1e300", "to=-1e300", "from=1e300&to=-1e300"])
@pytest.mark.parametrize("axis", ["epoch", "batch", "step", "time"])
def test_range_without_anything_in_it_has_no_points(
    service: TestClient, run: str, axis: str, query: str
) -> None:
    rows = [{"epoch": epoch, "batch": 0, "loss": 1.0, "batch_size": 1, "step": epoch} for epoch in range(40)]
    assert service.post(f"{run}/records", json={"records": rows}).status_code == 200
    (curve,) = service.get(f"/api/v1/curves?run=r1&x={axis}&{query}").json()["curves"]
    assert len(curve["x"]) <= 1, "but for an epoch beside it"


@pytest.mark.parametrize("epochs", [50, 900])
def test_range_of_epochs_is_a_part_of_all_epochs(service: TestClient, run: str, epochs: int) -> None:
    rng = random.Random(epochs)
    numbers = sorted(rng.sample(range(epochs * 2), epochs))
    rows = [
        {"epoch": epoch, "batch": batch, "loss": rng.random(), "batch_size": 2, "split": split}
        for epoch in numbers
        for split in ("train", "val")
        for batch in range(2)
    ]
    assert service.post(f"{run}/records", json={"records": rows}).status_code == 200
    every = service.get("/api/v1/curves?run=r1&points=5000").json()["curves"]
    for _ in range(10):
        first, last = sorted(rng.uniform(-1, epochs * 2) for _ in range(2))
        told = service.get(f"/api/v1/curves?run=r1&points=2000&from={first}&to={last}").json()["curves"]
        for part, whole in zip(told, every, strict=True):
            at = whole["x"].index(part["x"][0])
            end = at + len(part["x"])
            assert all(at <= n < end for n, x in enumerate(whole["x"]) if first <= x <= last)
            for name in ("x", "count", "epoch", "items", "complete"):
                assert part[name] == whole[name][at:end], name
            for name, column in whole["views"].items():
                assert part["views"][name] == column[at:end], name
