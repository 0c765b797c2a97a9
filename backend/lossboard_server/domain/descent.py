"""Finding a place inside an epoch without reading it: down the levels of its buckets, four to each."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from lossboard_server.domain.curves import Standing
from lossboard_server.domain.points import NOTHING, Point, merge_points
from lossboard_server.domain.pyramid import BUCKET_WIDTHS


class Mark(NamedTuple):
    """The beginning of a bucket: its first batch, and what training had made before it."""

    batch: int = 0
    standing: Standing = Standing()
    so_far: Point = NOTHING
    """What its epoch held before it."""


Read = Callable[[int, range], Iterable[Point]]
"""(width, batches) → the buckets of that width that hold some of them, in order."""


def descend(
    read: Read, reach: int, standing: Standing, is_before: Callable[[int, Point, Standing], bool]
) -> dict[int, Mark]:
    """Find the bucket of each level in which a place lies; empty for an epoch without levels.

    `is_before(width, bucket, standing behind it)` tells whether the bucket ends before the
    place. `reach` is the epoch's greatest batch, `standing` where training stood before it.
    Cost: one question a level, each for four buckets.
    """
    marks: dict[int, Mark] = {}
    so_far = NOTHING
    batches = range(reach + 1)
    for width in reversed([width for width in BUCKET_WIDTHS if width <= reach]):
        start = batches.start
        for point in read(width, batches):
            behind = standing.past(point)
            if not is_before(width, point, behind):
                start = point.number * width
                break
            standing, so_far = behind, merge_points(so_far, point)
            start = (point.number + 1) * width
        marks[width] = Mark(start, standing, so_far)
        batches = range(start, start + width)
    return marks
