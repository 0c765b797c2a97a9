"""Ranges: what a zoom shows is a part of the whole curve at the same width, down to the records."""

import random
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import pytest
from sqlalchemy import Connection
from starlette.testclient import TestClient

from lossboard_server.api.drawing import Request, RunDrawing
from lossboard_server.store.register import find_run
from lossboard_server.store.store import Store

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
                row = {"epoch": None if is_undeclared else epoch, "batch": batch, "loss": loss, "batch_size": size}
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


def draw(
    connection: Connection, wanted: Request, width: int = 1
) -> tuple[dict[str, Any], int]:
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


@pytest.mark.parametrize("seed", range(300))
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
                merged = [point[:7] for point in parts]
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
                *points[-1][5:7],
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
