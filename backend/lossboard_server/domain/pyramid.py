"""The pyramid: which bucket widths a group of records has, and how one level makes the next.

A group is one epoch and pass of one attempt, its ranks merged. It has a level of width w
once its greatest batch is at least w; before that its epoch's summary is the level's one bucket.
"""

from collections.abc import Iterator

from lossboard_server.domain.summary import Summary, merge

BASE = 4
SMALLEST_WIDTH = 16  # batches: below it the records themselves cost as little
BUCKET_WIDTHS: tuple[int, ...] = tuple(
    SMALLEST_WIDTH * BASE**power for power in range(9)
)  # to 1,048,576: a billion batches
WIDTHS = (1, BASE, *BUCKET_WIDTHS)
"""Widths that a curve is drawn at, in batches: 1 and 4 from the records, then the stored ones."""


def climb(level: dict[int, Summary]) -> dict[int, Summary]:
    """Merge a level's buckets, by number, into those of the next width."""
    above: dict[int, Summary] = {}
    for number, summary in level.items():
        known = above.get(number // BASE)
        above[number // BASE] = summary if known is None else merge(known, summary)
    return above


def build_levels(level: dict[int, Summary], reach: int) -> Iterator[tuple[int, dict[int, Summary]]]:
    """Yield (width, buckets) for every level of a group that reaches batch `reach`, the smallest first."""
    for width in BUCKET_WIDTHS:
        if width > reach:
            return
        yield width, level
        level = climb(level)
