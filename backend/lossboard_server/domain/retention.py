"""What an installation keeps: which ended runs go when they are old or the store is full."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from lossboard_server.domain.run_state import RUNNING, STALLED

DAY_S: Final = 86_400.0
GRACE_S: Final = DAY_S  # nobody's run of last night goes before he has seen it, however full the store is
KEEP_TAG: Final = "keep"


@dataclass(frozen=True, slots=True)
class Retention:
    """How long and how much is kept; None, the default of both, keeps everything.

    Units: days since a run's last record; bytes that rows take, not those of the file.
    """

    days: float | None = None
    bytes: float | None = None

    @property
    def is_on(self) -> bool:
        """Whether it deletes at all."""
        return self.days is not None or self.bytes is not None


@dataclass(frozen=True, slots=True)
class Kept:
    """What decides whether a run goes."""

    key: int
    run: str
    name: str
    state: str
    last_unix_s: float
    records: int
    bytes: int
    is_archived: bool
    tags: Sequence[str]


@dataclass(frozen=True, slots=True)
class Removal:
    """A run that goes, and why; `due_unix_s` is when, the past meaning now."""

    kept: Kept
    cause: Literal["age", "size"]
    reason: str
    due_unix_s: float


def plan_removals(runs: Sequence[Kept], rule: Retention, used_bytes: int, now: float) -> list[Removal]:
    """Return what goes and when, in the order in which it goes.

    By age every run whose last record is older than the days; then, while the store holds more
    than the bytes, the archived ones and then the others, each kind oldest first. Never one that is
    running or stalled, that ended within GRACE_S or that has the tag KEEP_TAG.
    """
    free = [run for run in runs if run.state not in (RUNNING, STALLED) and KEEP_TAG not in run.tags]
    free.sort(key=lambda run: run.last_unix_s)
    planned: list[Removal] = []
    if rule.days is not None:
        wait_s = max(rule.days * DAY_S, GRACE_S)
        reason = f"its last record is older than {rule.days:g} days"
        planned = [Removal(run, "age", reason, run.last_unix_s + wait_s) for run in free]
    due = {removal.kept.key for removal in planned if removal.due_unix_s <= now}
    if rule.bytes is not None:
        over = used_bytes - sum(run.bytes for run in free if run.key in due) - rule.bytes
        reason = f"the store holds more than {rule.bytes / 1e9:g} GB"
        full = []
        for run in sorted(free, key=lambda run: not run.is_archived):  # stable: each kind stays oldest first
            if over <= 0:
                break
            if run.key in due:
                continue
            full.append(Removal(run, "size", reason, run.last_unix_s + GRACE_S))
            over -= run.bytes
        taken = {removal.kept.key for removal in full}
        planned = [removal for removal in planned if removal.kept.key not in taken] + full
    return sorted(planned, key=lambda removal: max(removal.due_unix_s, now))
