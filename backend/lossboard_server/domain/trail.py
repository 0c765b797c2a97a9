"""The trail of a series: where each of its newest changes began, so that a follower is told the rest only."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MAX_MARKS = 16  # of a series, some 300 bytes that each request writes anew

KEPT_MARKS = 5  # the newest, which are what a page that keeps up asks for


class Mark(NamedTuple):
    """A version of the run, and the first position that it changed, as the attempt counts it.

    A pass of validation changes its epoch from batch 0.
    """

    version: int
    epoch: int
    batch: int


@dataclass(slots=True)
class Trail:
    """Changes of one attempt's part of a series, positions and versions both ascending.

    `since` is the version up to which nothing is known: a change of another attempt has no
    place in this order.
    """

    attempt: int = -1
    since: int = 0
    marks: list[Mark] = field(default_factory=list)

    @classmethod
    def read(cls, stored: Sequence[Any]) -> "Trail":
        """Read a trail as it is stored; an empty list is one that knows nothing."""
        if not stored:
            return cls()
        attempt, since, *marks = stored
        return cls(attempt, since, [Mark(*mark) for mark in marks])

    def store(self) -> list[Any]:
        """Return what is stored of it."""
        return [self.attempt, self.since, *map(list, self.marks)]

    def extend(self, version: int, attempt: int, epoch: int, batch: int) -> None:
        """Note a change: later positions changed before it say no more than it does."""
        if attempt != self.attempt or not self.marks:
            is_shared = bool(self.marks) and self.marks[-1].version == version
            self.attempt, self.since, self.marks = attempt, version - (not is_shared), []
        while self.marks and self.marks[-1][1:] >= (epoch, batch):
            self.marks.pop()
        self.marks.append(Mark(version, epoch, batch))
        if len(self.marks) > MAX_MARKS:
            self._thin_out()

    def _thin_out(self) -> None:
        """Make one mark of two, as late as the later and from where the earlier began.

        Of those that together span least for their age, so that marks stand the further apart
        the older they are: a follower that is twice as far behind is told twice as much.
        """
        versions = [self.since, *(mark.version for mark in self.marks)]
        now = versions[-1] + 1

        def spread(n: int) -> float:
            return (versions[n + 2] - versions[n]) / (now - versions[n + 1])

        at = min(range(len(self.marks) - KEPT_MARKS), key=spread)
        self.marks[at : at + 2] = [Mark(self.marks[at + 1].version, *self.marks[at][1:])]

    def find_changed(self, version: int) -> Mark | None:
        """Return the mark of the first position changed after a version, itself or an earlier one.

        Raises: LookupError where that is not known.
        """
        if version < self.since or self.attempt < 0:
            raise LookupError
        return next((mark for mark in self.marks if mark.version > version), None)
