"""The state of a run: what its writers told, joined, and what time alone makes of it."""

from collections.abc import Iterable
from dataclasses import dataclass

from lossboard import wire

RUNNING, FINISHED, FAILED, KILLED = wire.STATES
STALLED, LOST = "stalled", "lost"
RUN_STATES = (RUNNING, STALLED, LOST, FINISHED, FAILED, KILLED)
_WORST = (RUNNING, FAILED, KILLED, FINISHED)


def follow(before: str | None, told: str) -> str:
    """Return a writer's state once it was told another.

    Its own goodbye is final: a heartbeat that was held up, or somebody who finds the journal of
    a process gone, takes nothing back. Being found dead is not: a suspended process, or one in
    another container, gives a sign of life again.
    """
    if before in wire.SCRIPT_STATES and told not in wire.SCRIPT_STATES:
        return before
    return told


def join(states: Iterable[str]) -> str | None:
    """Return what the writers of an attempt come to: running while one runs, else the worst; None of none."""
    known = set(states)
    return next((state for state in _WORST if state in known), None)


@dataclass(frozen=True, slots=True)
class Life:
    """What a run told last, and how long ago it gave signs of life.

    Units: seconds. `unrecorded_s`: since the last record of the newest attempt, None where it
    has none: a model that loads for an hour has not stalled.
    """

    told: str
    silent_s: float
    lost_after_s: float
    unrecorded_s: float | None = None
    stalled_after_s: float | None = None

    @property
    def state(self) -> str:
        """The run's state at this moment."""
        if self.told != RUNNING:
            return self.told
        if self.silent_s > self.lost_after_s:
            return LOST
        rest = self._until_stalled_s
        return STALLED if rest is not None and rest < 0 else RUNNING

    @property
    def holds_s(self) -> float | None:
        """For how long the state holds if nothing more is heard; None: for good."""
        state = self.state
        if state not in (RUNNING, STALLED):
            return None
        until_lost = self.lost_after_s - self.silent_s
        rest = self._until_stalled_s if state == RUNNING else None
        return until_lost if rest is None else min(rest, until_lost)

    @property
    def _until_stalled_s(self) -> float | None:
        if self.unrecorded_s is None or self.stalled_after_s is None:
            return None
        return self.stalled_after_s - self.unrecorded_s
