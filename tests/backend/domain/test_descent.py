"""Descent: the bucket in which a place lies is found level by level, with all that came before it."""

import random
from collections.abc import Iterator

import pytest

from lossboard_server.domain.curves import Standing
from lossboard_server.domain.descent import descend
from lossboard_server.domain.meaning import Evaluation, Reduction
from lossboard_server.domain.points import Point, bucket_rows, merge_all_points
from lossboard_server.domain.summary import Row


def rows_of(batches: list[int]) -> list[Row]:
    return [
        Row(0, b, 0, Evaluation(1.0 + b, 2, None, None, None, Reduction.MEAN), b, float(b)) for b in batches
    ]


@pytest.mark.parametrize("seed", range(10))
def test_place_is_found_with_all_that_came_before_it(seed: int) -> None:
    rng = random.Random(seed)
    rows = rows_of(sorted(rng.sample(range(6000), rng.choice([1, 40, 900]))))
    reach = rows[-1].batch
    asked: list[int] = []

    def read(width: int, batches: range) -> Iterator[Point]:
        asked.append(width)
        for point in bucket_rows(rows, width, {(0, 0): 1}).rows:
            if batches.start < (point.number + 1) * width and point.number * width < batches.stop:
                yield point

    before = Standing(batches=7.0, items=14.0)
    place = before.batches + rng.uniform(0, len(rows))
    marks = descend(read, reach, before, lambda _width, _point, behind: behind.batches < place)
    assert sorted(asked) == sorted(marks) == [width for width in (16, 64, 256, 1024, 4096) if width <= reach]
    for width, mark in marks.items():
        passed = [row for row in rows if row.batch < mark.batch]
        assert mark.batch % width == 0
        assert mark.standing.batches == before.batches + len(passed) < place + 1
        told = merge_all_points(bucket_rows(passed, 16, {(0, 0): 1}).rows)
        assert (mark.so_far.seen, mark.so_far.items) == (told.seen, told.items)
        held = sum(1 for row in rows if mark.batch <= row.batch < mark.batch + width)
        assert mark.standing.batches + held >= place, "the place lies in it"


def test_epoch_without_levels_has_no_marks() -> None:
    assert descend(lambda *_: [], 15, Standing(), lambda *_: True) == {}
