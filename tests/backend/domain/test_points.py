"""Points: merged like the summaries that they are made of, and told with what is not finite among them."""

import math
import random

import pytest

from lossboard_server.domain.meaning import Evaluation, Reduction
from lossboard_server.domain.points import (
    MAX_EVENTS,
    NOTHING,
    Point,
    bucket_rows,
    group_epochs,
    merge_all_points,
    merge_points,
    point_of,
    point_of_rows,
)
from lossboard_server.domain.summary import Row, summarise


def row(epoch: int, batch: int, loss: float = 1.0, size: int | None = 2) -> Row:
    step, time = epoch * 1000 + batch, 1e9 + batch
    return Row(epoch, batch, 0, Evaluation(loss, size, None, None, None, Reduction.MEAN), step, time)


@pytest.mark.parametrize("size", [2, None])
def test_merged_points_are_the_point_of_all_their_records(size: int | None) -> None:
    rng = random.Random(0)
    rows = [
        row(0, batch, rng.choice([math.nan, rng.random() * 1e9, rng.random()]), size) for batch in range(60)
    ]
    whole = point_of(summarise(rows), (0, 0), 0, 2)
    parts = [point_of(summarise(rows[at : at + 7]), (0, 0), 0, 2) for at in range(0, 60, 7)]
    rng.shuffle(parts)
    merged = merge_all_points(parts)
    for name in Point._fields:
        if not name.endswith("_low"):
            assert getattr(merged, name) == pytest.approx(getattr(whole, name), rel=1e-14), name
    assert merged.mean == pytest.approx(whole.mean, rel=1e-14)


@pytest.mark.parametrize("seed", range(30))
def test_point_of_rows_is_that_of_their_summary(seed: int) -> None:
    rng = random.Random(seed)
    losses = [math.nan, math.inf, 1.7e308, 0.0, 1e-300, -3.5, *(rng.random() for _ in range(6))]
    rows = [
        Row(
            *(2, batch, rank),
            Evaluation(
                rng.choice(losses),
                rng.choice([0, 1, 32, None]),
                rng.choice([None, None, 0.0, 2.5]),
                rng.choice([None, None, 4.0]),
                rng.choice([None, 8.0]),
                rng.choice(list(Reduction)),
            ),
            rng.choice([None, batch]),
            rng.choice([None, 1e9 - batch]),
            1,
        )
        for batch in range(rng.randint(1, 16))
        for rank in range(rng.randint(1, 3))
    ]
    assert alike(point_of_rows(rows, 5, 2), point_of(summarise(rows), (2, 1), 5, 2))


def alike(one: Point, other: Point) -> bool:
    """Whether two points are equal, an overflow's NaN included."""
    return all(a == b or (a != a and b != b) for a, b in zip(one, other, strict=True))


def test_nothing_adds_nothing() -> None:
    point = point_of(summarise([row(3, 4)]), (3, 1), 0, 1)
    assert merge_points(NOTHING, point) == merge_points(point, NOTHING) == point
    assert merge_all_points([]) == NOTHING


def test_later_point_tells_the_place_whichever_comes_first() -> None:
    early, late = (point_of(summarise([row(e, 9 - e)]), (e, 0), 0, 1) for e in (0, 1))
    for merged in (merge_points(early, late), merge_points(late, early)):
        assert (merged.epoch, merged.last_batch, merged.first_step, merged.last_step) == (1, 8, 9, 1008)


def test_bucket_tells_the_newest_of_what_is_not_finite() -> None:
    found = bucket_rows([row(0, batch, math.nan) for batch in range(MAX_EVENTS + 40)], 16, {(0, 0): 1})
    assert [event.batch for _, event in found.events] == list(range(40, MAX_EVENTS + 40))
    assert all(event.batch // 16 == found.rows[at].number for at, event in found.events)
    assert sum(point.nonfinite for point in found.rows) == MAX_EVENTS + 40


def test_epochs_are_grouped_over_their_numbers_and_not_their_count() -> None:
    points = (point_of(summarise([row(epoch, 0)]), (epoch, 0), 0, 1) for epoch in (-1, 0, 3, 9, 10))
    assert [(point.epoch, point.seen) for point in group_epochs(points, 4)] == [(-1, 1), (3, 2), (10, 2)]
