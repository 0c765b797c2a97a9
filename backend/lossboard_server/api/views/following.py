"""Following curves: what a cursor says that a page has, and from where on it must be told anew."""

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection

from lossboard_server.domain.attempts import Attempt, Stretch
from lossboard_server.domain.trail import Mark, Trail
from lossboard_server.store.reading.series import Series, read_series
from lossboard_server.store.writing.trail import read_trails

ENDED = -1  # in a cursor: no epoch of the run is incomplete any more
_CURSOR = re.compile(r"([0-9a-f]{8})-(\d{1,10})-(\d{1,10})((?:_\d{1,18}\.\d{1,18}\.-?\d{1,10}\.\d{1,10})+)")


class CannotFollowError(Exception):
    """What changed can't be told as an end to what the page has: it must draw anew."""


class Seen(NamedTuple):
    """What a page has of one run."""

    version: int
    incomplete: int
    """The first epoch that was not complete."""
    points: int
    """Of its longest training curve, not fewer than it has."""


@dataclass(slots=True)
class Cursor:
    """What a page has: for one question, at one width of bucket."""

    question: str
    width: int
    """In batches."""
    span: int
    """In epochs."""
    runs: dict[int, Seen] = field(default_factory=dict)
    """By the run's key."""

    def __str__(self) -> str:
        runs = "".join(f"_{key}.{'.'.join(map(str, seen))}" for key, seen in self.runs.items())
        return f"{self.question}-{self.width}-{self.span}{runs}"


def read_cursor(text: str) -> Cursor | None:
    """Read a cursor; None for what is none of this release."""
    match = _CURSOR.fullmatch(text)
    if match is None:
        return None
    runs = (part.split(".") for part in match[4].split("_")[1:])
    seen = {int(key): Seen(*map(int, told)) for key, *told in runs}
    return Cursor(match[1], int(match[2]), int(match[3]), seen)


def name_question(parts: Iterable[Any]) -> str:
    """Return a short name of everything that is asked but for the runs' versions."""
    return hashlib.sha256(repr(tuple(parts)).encode()).hexdigest()[:8]


@dataclass(slots=True)
class Follow:
    """From where on the curves of one run are told; nothing of them where none changed."""

    seen: Seen
    marks: Mapping[int, Mark | None]
    """By series, the first position that changed, its epoch as it is shown; None: nothing did."""
    first: float = math.inf
    """The first epoch, as it is shown, of which anything is told."""

    def is_behind(self, attempt: Attempt, stretch: Stretch, axis: str) -> bool:
        """Whether an attempt begins behind a place that changed: so its mark may stand elsewhere now.

        On the axis of epochs it stands where its epoch's records are shared out.
        """
        begin = (stretch.epochs_before, 0) if attempt.start is None else attempt.start
        if axis == "epoch":
            return begin[0] >= self.first
        return any(begin > (mark.epoch, mark.batch) for mark in self.marks.values() if mark is not None)

    def is_set_back(self, incomplete: int) -> bool:
        """Whether an epoch that was complete is not so now: a rank came, or goes on that had ended."""
        before = self.seen.incomplete
        return incomplete != ENDED and (before == ENDED or incomplete < before)

    @property
    def has_changed(self) -> bool:
        """Whether anything of the run did."""
        return not math.isinf(self.first)


def follow_run(connection: Connection, run: Any, seen: Seen, axis: str) -> Follow:
    """Find what of a run changed since it was seen.

    Raises: CannotFollowError where more than its newest records did.
    """
    if run.version == seen.version:
        return Follow(seen, {})
    if run.redrawn > seen.version or run.version < seen.version:
        raise CannotFollowError  # the latter: a cursor of another database
    trails = read_trails(connection, run.key)
    all_series = read_series(connection, run.key, with_steps=False)
    marks = {series.key: _find_changed(series, trails[series.key], seen.version) for series in all_series}
    epochs = [mark.epoch for mark in marks.values() if mark is not None]
    # A run that ended has changed too, though no record came: its last epochs are complete now.
    if axis == "epoch" and seen.incomplete != ENDED:
        epochs.append(seen.incomplete)
    return Follow(seen, marks, min(epochs, default=math.inf))


def _find_changed(series: Series, trail: Trail, version: int) -> Mark | None:
    """Return the first position that changed after a version, its epoch as it is shown."""
    if not trail.marks:
        return None  # declared, and without records so far; or older than all trails, as no cursor is
    try:
        mark = trail.find_changed(version)
    except LookupError:
        raise CannotFollowError from None
    if mark is None:
        return None
    return mark._replace(epoch=series.stretches[trail.attempt].place(mark.epoch, 0, series.is_train)[0])
