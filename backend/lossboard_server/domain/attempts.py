"""Which records of a resumed run are hidden: those a later attempt trained again."""

from collections.abc import Iterable
from typing import NamedTuple

Position = tuple[int, int]
"""(epoch, batch)."""


class Attempt(NamedTuple):
    """One start of the training. `start` None: position unknown, hides nothing."""

    key: int
    started: float
    start: Position | None


def find_cuts(attempts: Iterable[Attempt]) -> dict[int, Position | None]:
    """Map each attempt's key to the position from which later attempts hide it; None: nowhere.

    A record is hidden iff a later attempt's start is ≤ its position.
    """
    ordered = sorted(attempts, key=lambda attempt: (attempt.started, attempt.key))
    cuts: dict[int, Position | None] = {}
    cut: Position | None = None
    for attempt in reversed(ordered):
        cuts[attempt.key] = cut
        if attempt.start is not None and (cut is None or attempt.start < cut):
            cut = attempt.start
    return cuts
