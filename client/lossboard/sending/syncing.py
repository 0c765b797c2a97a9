"""Sending all that folders of dead writers hold, one after the other, until it is at the service."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from lossboard.journal.reading import find_end, read_acked
from lossboard.sending.answers import Refused
from lossboard.sending.leftover import Leftover, NotTaken, discard_torn, take_folder
from lossboard.sending.takeover import is_meant_for
from lossboard.sending.transport import NotNow, Transport, Unproven, Unreachable

PATIENCE_S: Final = 30.0  # with a service that went away: a restart takes some seconds
BACKOFF_FIRST_S: Final = 0.2
BACKOFF_CAP_S: Final = 5.0
MAX_DEPTH: Final = 4  # of a writer's folder below the one that was named: copies/node/journal/writer
WRONG_TOKEN: Final = (401, 403)

T = TypeVar("T")


@dataclass(slots=True)
class Outcome:
    """What came of a sync. `left` and `failed` name folders and why they were not sent."""

    records: int = 0  # handed to the service, what it had already included
    writers: int = 0
    runs: set[str] = field(default_factory=set)
    sent_before: int = 0  # folders of which an earlier sync sent everything
    lost: dict[str, int] = field(default_factory=dict)  # by reason, in what was sent now
    alive: list[tuple[Path, str]] = field(default_factory=list)
    left: list[tuple[Path, str]] = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked for.

    `is_named`: somebody named the folder, which is the consent to send what another machine
    wrote, and to whatever service was named. `is_copy`: it is not this machine's own state folder.
    """

    url: str | None
    is_named: bool
    is_copy: bool
    remove: bool
    again: bool


class Sync:
    """Sends folders to the service that `connect` finds; `tell` hears how many records are done."""

    def __init__(self, order: Order, connect: Callable[[], Transport], tell: Callable[[int], None]) -> None:
        self.outcome = Outcome()
        self._order = order
        self._connect = connect
        self._tell = tell
        self._transport: Transport | None = None
        self._done = 0
        self._has_answered = False

    def send(self, folders: list[Path]) -> None:
        """Send folder by folder; one that can't be read or is refused does not hold up the others.

        Raises: Unreachable where the service stays away, Refused where it takes nothing of
        ours. Then, as after KeyboardInterrupt, each mark tells exactly what is committed.
        """
        try:
            for folder in folders:
                self._send_folder(folder)
        finally:
            if self._transport is not None:
                self._transport.close()

    def _send_folder(self, folder: Path) -> None:
        order, outcome = self._order, self.outcome
        try:
            leftover = take_folder(
                folder,
                is_named=order.is_named,
                is_copy=order.is_copy,
                again=order.again,
                keep=not order.remove,
            )
        except NotTaken as reason:
            (outcome.alive if reason.is_alive else outcome.left).append((folder, str(reason)))
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._note_unreadable(folder, error)
            return
        is_done = False
        try:
            is_done = self._send_leftover(leftover)
        except Refused as trouble:
            if trouble.answer.status in WRONG_TOKEN:
                raise
            outcome.failed.append((folder, str(trouble)))
        except (OSError, ValueError, KeyError, TypeError) as error:
            outcome.failed.append((folder, repr(error)))
        finally:
            leftover.close(remove=is_done and order.remove)

    def _send_leftover(self, leftover: Leftover) -> bool:
        """Send one writer's records and how it ended; return whether all of it is at the service."""
        order, outcome = self._order, self.outcome
        if leftover.is_sent:
            outcome.sent_before += 1
            return True
        if not order.is_named:
            address = leftover.manifest.get("address")
            self._transport = self._transport or self._connect()
            at = self._transport.url
            if not is_meant_for(address, order.url, at):
                meant = f"it is meant for {address or 'a service on this machine'}"
                outcome.left.append((leftover.folder, meant))
                return False
        delivery = leftover.make_delivery()
        delivery.rest_s = 0.0  # nobody trains beside it
        before, known = self._done, leftover.faults.counts()
        try:
            while self._ask(delivery.send_some):
                self._done = before + leftover.sent
                self._tell(self._done)
            self._ask(lambda transport: leftover.send_end(delivery, transport))
        finally:
            self._done = before + leftover.sent
            lost = {name: n - known.get(name, 0) for name, n in leftover.faults.counts().items()}
            outcome.records += leftover.sent - sum(lost.values())
            for name, n in lost.items():
                if n:
                    outcome.lost[name] = outcome.lost.get(name, 0) + n
        outcome.writers += 1
        outcome.runs.add(str(leftover.manifest["run"]))
        if not order.remove:
            leftover.note_delivered()
        return True

    def _ask(self, question: Callable[[Transport], T]) -> T:
        """Ask the service, again and again while it is away for a short time.

        Raises: Unreachable when it stays away, Refused.
        """
        until = time.monotonic() + PATIENCE_S
        wait_s = BACKOFF_FIRST_S
        while True:
            try:
                if self._transport is None:
                    self._transport = self._connect()
                answer = question(self._transport)
                self._has_answered = True
                return answer
            except Unproven:
                raise
            except Unreachable as trouble:
                if self._transport is not None and not isinstance(trouble, NotNow):
                    self._transport.close()
                    self._transport = None  # it may come back at another port or with another token
                pause_s = max(wait_s, trouble.retry_after_s or 0.0)
                # Where nobody ever answered there is nothing to wait for: the address may be wrong.
                is_there = self._has_answered or isinstance(trouble, NotNow)
                if not is_there or time.monotonic() + pause_s > until:
                    raise
                time.sleep(pause_s)
                wait_s = min(BACKOFF_CAP_S, 2 * wait_s)

    def _note_unreadable(self, folder: Path, error: Exception) -> None:
        if not self._order.is_copy and discard_torn(folder):
            return
        if isinstance(error, FileNotFoundError) and not count_pending(folder, again=True):
            return  # it went this moment, or never had a record
        self.outcome.failed.append((folder, f"it can't be read: {error}"))


def find_folders(place: Path) -> list[Path]:
    """Return the writers' folders at or below a folder, the oldest writer first.

    `place` is a state folder, a journal folder, one writer's folder, or a folder of copies
    of such. Links are not followed.
    """
    found = list(_walk(place, MAX_DEPTH))
    return sorted(found, key=lambda folder: (folder.name, str(folder)))


def count_pending(folder: Path, *, again: bool = False) -> int:
    """Return about how many records of a folder are left to send; nothing is locked for it."""
    try:
        acked = 0 if again else read_acked(folder) or 0
        return max(0, find_end(folder) - acked)
    except OSError:
        return 0


def _walk(place: Path, depth: int) -> Iterator[Path]:
    try:
        with os.scandir(place) as entries:
            names = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
    except OSError:
        return
    if "run.json" in names or any(name.endswith(".seg") for name in names):
        yield place
    elif depth:
        for name, is_folder in names.items():
            if is_folder:
                yield from _walk(place / name, depth - 1)
