"""What is to be said of a run's attempts: positions that nobody knows, gaps, clocks, two at once."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from lossboard_server.domain.attempts import NOWHERE, Attempt, Position, Stretch


class Note(NamedTuple):
    """Something that a reader of the curves should know; `attempt` is numbered from 1."""

    attempt: int
    code: str
    message: str


def find_notes(
    attempts: Sequence[Attempt],
    shown: Mapping[int, Stretch],
    ends: Mapping[int, Position],
    running: Collection[int] = (),
) -> list[Note]:
    """Tell what is odd about attempts, given in the order of their starts.

    `ends`: the last stored position of an attempt's training, as it counts itself; without it
    no gaps are told. `running`: the keys of those that are not over.
    """
    notes = []
    for number, attempt in enumerate(attempts, start=1):
        earlier = attempts[: number - 1]
        if attempt.start is None and earlier:
            notes.append(Note(number, "position-unknown", _tell_unknown(number, shown[attempt.key])))
        elif attempt.start is not None and attempt.start > (0, 0) and not earlier:
            message = _tell_nothing_before(_tell(attempt.start), has_later=len(attempts) > 1)
            notes.append(Note(number, "nothing-before", message))
        elif attempt.start is not None and earlier:
            last = _find_last_before(earlier, shown, ends, attempt.start)
            if last is not None and is_apart(last, attempt.start):
                notes.append(Note(number, "gap", _tell_gap(number, attempt.start, last)))
        together = [n for n, other in enumerate(earlier, start=1) if other.key in running]
        if attempt.key in running and together:
            notes.append(Note(number, "attempts-overlap", _tell_overlap(number, together)))
    return notes


def is_apart(last: Position, start: Position) -> bool:
    """Whether something must lie between a record and a start behind it; an epoch may just have ended."""
    return start[0] > last[0] + 1 or (start[0] == last[0] and start[1] > last[1] + 1)


def _tell_unknown(number: int, stretch: Stretch) -> str:
    counted = f" Its epochs are counted on from {stretch.epochs_before}." if stretch.epochs_before else ""
    return (
        f"Attempt {number} did not say where it goes on: its position is unknown, and it hides "
        f"nothing.{counted} Resume with start_epoch=n to place it."
    )


def _tell_nothing_before(where: str, has_later: bool) -> str:
    clock = ", or the clocks of two machines disagree" if has_later else ""
    return (
        f"Attempt 1 goes on at {where}, but no attempt started before it: one may not be synced yet{clock}."
    )


def _tell_gap(number: int, start: Position, last: Position) -> str:
    ends = f"but the records before it end at {_tell(last)}"
    return f"Attempt {number} starts at {_tell(start)}, {ends}. What lies between them is not here."


def _tell_overlap(number: int, together: Sequence[int]) -> str:
    told = " and ".join(str(n) for n in (*together, number))
    return f"Attempts {told} run at once; attempt {number} started last and hides what it trains again."


def _find_last_before(
    attempts: Sequence[Attempt], shown: Mapping[int, Stretch], ends: Mapping[int, Position], start: Position
) -> Position | None:
    """Return the last position of earlier attempts; None where it is unknown, or not before the start."""
    last: Position | None = None
    for attempt in attempts:
        stretch = shown[attempt.key]
        if attempt.key in ends and stretch.end != NOWHERE:
            epoch, batch = ends[attempt.key]
            own = max(epoch, 0) + stretch.epochs_before, batch
            last = own if last is None else max(last, own)
    return None if last is None or last >= start else last


def _tell(position: Position) -> str:
    epoch, batch = position
    return f"epoch {epoch}" if batch == 0 else f"epoch {epoch}, batch {batch}"
