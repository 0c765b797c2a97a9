"""The pyramid: which bucket widths a group of records has, and how one level makes the next.

A group is one epoch and pass of one attempt, its ranks merged. It has a level of width w
once its greatest batch is at least w; before that its epoch's summary is the level's one bucket.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from lossboard_server.domain.summary import Summary, merge_all

BASE = 4
SMALLEST_WIDTH = 16  # batches: below it the records themselves cost as little

Thing = TypeVar("Thing")
BUCKET_WIDTHS: tuple[int, ...] = tuple(
    SMALLEST_WIDTH * BASE**power for power in range(9)
)  # to 1,048,576: a billion batches
WIDTHS = (1, BASE, *BUCKET_WIDTHS)
"""Widths that a curve is drawn at, in batches: 1 and 4 from the records, then the stored ones."""


def climb(level: dict[int, Summary]) -> dict[int, Summary]:
    """Merge a level's buckets, by number, into those of the next width."""
    above: dict[int, list[Summary]] = {}
    for number, summary in level.items():
        above.setdefault(number // BASE, []).append(summary)
    return {number: merge_all(parts) for number, parts in above.items()}


def build_levels(level: dict[int, Summary], reach: int) -> Iterator[tuple[int, dict[int, Summary]]]:
    """Yield (width, buckets) for every level of a group that reaches batch `reach`, the smallest first."""
    for width in BUCKET_WIDTHS:
        if width > reach:
            return
        yield width, level
        level = climb(level)


class Climb(Generic[Thing]):
    """Makes the buckets of every width of things that come in order of position.

    Memory: what one open bucket of each width is made of.
    """

    def __init__(self, widths: Sequence[int], join: Callable[[list[Thing]], Thing]) -> None:
        self._widths = widths
        self._join = join
        self._open: list[tuple[int, list[Thing]]] = [(0, []) for _ in widths]

    def push(self, position: int, thing: Thing) -> Iterator[tuple[int, int, Thing]]:
        """Take the next thing; yield (width, number, bucket) for the buckets that it leaves behind."""
        yield from self._push(0, position // self._widths[0], thing)

    def flush(self) -> Iterator[tuple[int, int, Thing]]:
        """Yield the buckets that are still open, the smallest width first, and begin anew."""
        for level in range(len(self._widths)):
            yield from self._close(level)

    def _push(self, level: int, number: int, thing: Thing) -> Iterator[tuple[int, int, Thing]]:
        if self._open[level][0] != number:
            yield from self._close(level)
            self._open[level] = (number, [])
        self._open[level][1].append(thing)

    def _close(self, level: int) -> Iterator[tuple[int, int, Thing]]:
        number, members = self._open[level]
        if not members:
            return
        self._open[level] = (number, [])
        bucket = self._join(members)
        yield self._widths[level], number, bucket
        if level + 1 < len(self._widths):
            yield from self._push(level + 1, number // BASE, bucket)
