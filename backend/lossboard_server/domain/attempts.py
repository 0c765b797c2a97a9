"""What a resumed run shows: which records are hidden, and where each attempt's steps go on."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

Position = tuple[int, int]
"""(epoch, batch)."""


class Attempt(NamedTuple):
    """One start of the training. `start` None: position unknown, hides nothing."""

    key: int
    started: float
    start: Position | None


class Span(NamedTuple):
    """The least and the greatest visible step of an attempt, as it counted them itself."""

    first: int
    last: int


def find_cuts(attempts: Iterable[Attempt]) -> dict[int, Position | None]:
    """Map each attempt's key to the position from which later attempts hide it; None: nowhere.

    A record is hidden iff a later attempt's start is ≤ its position.
    """
    cuts: dict[int, Position | None] = {}
    cut: Position | None = None
    for attempt in reversed(order(attempts)):
        cuts[attempt.key] = cut
        if attempt.start is not None and (cut is None or attempt.start < cut):
            cut = attempt.start
    return cuts


def order(attempts: Iterable[Attempt]) -> list[Attempt]:
    """Return attempts in the order in which they started, whatever order they arrived in."""
    return sorted(attempts, key=lambda attempt: (attempt.started, attempt.key))


def count_steps_before(attempts: Iterable[Attempt], spans: Mapping[int, Span]) -> dict[int, int]:
    """Map each attempt's key to the optimizer steps that the visible training before it made.

    Every attempt counts from its own start, so these are to be added to its steps; an attempt
    without any is left out. One whose first step is not below them counts on by itself, as
    rows posted with a checkpoint's own step do.
    """
    before: dict[int, int] = {}
    made = 0
    for attempt in order(attempts):
        span = spans.get(attempt.key)
        shift = made if span is None or span.first < made else 0
        if shift:
            before[attempt.key] = shift
        if span is not None:
            made = max(made, shift + span.last + 1)
    return before
