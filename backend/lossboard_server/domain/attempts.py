"""What a resumed run shows: which records are hidden, and where each attempt's epochs and steps go on.

A record is hidden iff a later attempt's start is ≤ its position. An undeclared epoch stands
where epoch 0 does. An attempt that does not say where it starts hides nothing: its epochs are
counted on behind those before it, since nobody knows where they belong.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

Position = tuple[int, int]
"""(epoch, batch)."""

ENDLESS = 1 << 62  # batches; more than any epoch has
NOWHERE: Position = (-1, 0)
"""Before every position: what ends here shows nothing."""


class Attempt(NamedTuple):
    """One start of the training. `start` None: position unknown, hides nothing."""

    key: int
    started: float
    start: Position | None


class Span(NamedTuple):
    """The least and the greatest visible step of an attempt, as it counted them itself."""

    first: int
    last: int


class Stretch(NamedTuple):
    """What is shown of an attempt: from `first` on and before `end`, in its own count; None: all of it."""

    first: Position | None = None
    end: Position | None = None
    epochs_before: int = 0
    """What to add to its epochs, where it does not know which it continues."""
    passes_before: int = 0
    """The same for the one undeclared epoch, of which there may be several."""

    def batches(self, epoch: int) -> range | None:
        """Return which batches of an epoch are shown; None for all, an empty range for none."""
        place = max(epoch, 0)
        first, end = 0, ENDLESS
        if self.first is not None and place <= self.first[0]:
            first = self.first[1] if place == self.first[0] else ENDLESS
        if self.end is not None and place >= self.end[0]:
            end = self.end[1] if place == self.end[0] else 0
        return None if (first, end) == (0, ENDLESS) else range(first, end)

    def shows(self, epoch: int) -> bool:
        """Whether anything of an epoch is shown."""
        batches = self.batches(epoch)
        return batches is None or batches.start < batches.stop  # its length is beyond what len() takes

    def place(self, epoch: int, pass_no: int, is_train: bool) -> tuple[int, int]:
        """Return the epoch and pass as which it is shown."""
        if epoch >= 0:
            return epoch + self.epochs_before, pass_no
        return epoch, pass_no + (self.passes_before if is_train else 0)

    def unplace(self, epoch: int, pass_no: int) -> tuple[int, int]:
        """Return the epoch and pass of training, as the attempt counted them, from those shown."""
        return (epoch - self.epochs_before, pass_no) if epoch >= 0 else (epoch, pass_no - self.passes_before)

    def own_epochs(self, first: int, last: int) -> tuple[int, int]:
        """Return the first and the last epoch, as the attempt counted them, from those shown."""
        begin = first if first < 0 else max(first - self.epochs_before, 0)
        return begin, last if last < 0 else last - self.epochs_before

    def cut_at(self, end: Position) -> "Stretch":
        """Return what of it stands before a position, in the epochs that are shown."""
        own = (end[0] - self.epochs_before, end[1])
        return self._replace(end=own if self.end is None else min(self.end, own))


def order(attempts: Iterable[Attempt]) -> list[Attempt]:
    """Return attempts in the order in which they started, whatever order they arrived in."""
    return sorted(attempts, key=lambda attempt: (attempt.started, attempt.key))


def find_stretches(attempts: Iterable[Attempt], reach: Mapping[int, int]) -> dict[int, Stretch]:
    """Map each attempt's key to what is shown of it, in the order of their starts.

    `reach`: the greatest declared epoch of an attempt; asked for only where a start is unknown.
    """
    shown: dict[int, Stretch] = {}
    starts: dict[int, Position] = {}
    unknown = 0
    for attempt in order(attempts):
        if attempt.start is None and shown:
            unknown += 1
            behind = max(_last_epoch(stretch, reach.get(key, -1)) for key, stretch in shown.items())
            shown[attempt.key] = Stretch(epochs_before=behind + 1, passes_before=unknown)
            continue
        if attempt.start is not None:
            for key, stretch in shown.items():
                # One that began behind the cut has nothing before it, its first validation neither.
                is_behind = key in starts and starts[key] >= attempt.start
                shown[key] = stretch._replace(end=NOWHERE) if is_behind else stretch.cut_at(attempt.start)
            starts[attempt.key] = attempt.start
        shown[attempt.key] = Stretch(passes_before=unknown)
    return shown


def _last_epoch(stretch: Stretch, reach: int) -> int:
    """Return the last epoch shown of an attempt; −1 for none."""
    if stretch.end is not None:
        reach = min(reach, stretch.end[0] - (stretch.end[1] == 0))
    return -1 if reach < 0 else reach + stretch.epochs_before


class Hidden(NamedTuple):
    """What later attempts hide of one, and the run as it was seen before they began."""

    key: int
    stretches: dict[int, Stretch]
    """The hidden stretch of this attempt alone."""
    seen: dict[int, Stretch]
    """What its viewers saw: all attempts up to this one, with nothing hidden by later ones."""
    before: dict[int, Stretch]
    """The same as far as the hidden stretch's beginning."""


def find_hidden(
    attempts: Collection[Attempt], reach: Mapping[int, int], keys: Collection[int]
) -> list[Hidden]:
    """Return what is hidden of some attempts, in the order of their starts."""
    ordered = order(attempts)
    shown = find_stretches(ordered, reach)
    found = []
    for number, attempt in enumerate(ordered):
        end = shown[attempt.key].end
        if end is None or attempt.key not in keys:
            continue
        seen = find_stretches(ordered[: number + 1], reach)
        own = seen[attempt.key]
        first = None if end == NOWHERE else end
        begin = attempt.start or (0, 0) if first is None else (first[0] + own.epochs_before, first[1])
        before = {key: stretch.cut_at(begin) for key, stretch in seen.items()}
        if first is None:
            before.pop(attempt.key)
        found.append(Hidden(attempt.key, {attempt.key: own._replace(first=first)}, seen, before))
    return found


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
