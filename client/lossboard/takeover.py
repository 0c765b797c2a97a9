"""Sending what dead writers left: folders whose process is gone and whose lock is free."""

import os
import socket
import time
from pathlib import Path
from typing import Any, Final

from lossboard import wire
from lossboard.delivery import Delivery, Refused
from lossboard.faults import Faults
from lossboard.identity import is_alive
from lossboard.locks import take_lock
from lossboard.reading import (
    Indexed,
    Reader,
    Series,
    read_acked,
    read_manifest,
    read_series,
    remove_folder,
    write_acked,
)
from lossboard.settings import Settings
from lossboard.transport import Transport

SCAN_S: Final = 60.0  # between two looks for dead writers
PUT_KEYS: Final[tuple[str, ...]] = ("project", "name", "config", "tags", "environment", "attempt")


class DeadJournal:
    """The folder of a dead writer, held under its lock; read as its own process would have."""

    def __init__(self, folder: Path, manifest: dict[str, Any], lock_fd: int) -> None:
        self.folder = folder
        self.manifest = manifest
        self.writer = str(manifest["writer"])
        self.series: list[Series] = read_series(folder)
        self._lock_fd = lock_fd
        self._expected = read_acked(folder)
        self._reader = Reader(folder, self._expected)
        self.faults = Faults()
        for reason, count in dict(manifest.get("dropped") or {}).items():
            self.faults.count(str(reason), int(count))

    def read(self, limit: int) -> list[Indexed]:
        """Return the next records; segments that a bound removed are counted."""
        records = self._reader.read(limit)
        if records:
            if records[0][0] > self._expected:
                self.faults.count("journal-full", records[0][0] - self._expected)
            self._expected = records[-1][0] + 1
        return records

    def acknowledge(self, upto: int) -> None:
        """Move the mark."""
        write_acked(self.folder, upto)

    def close(self, *, remove: bool) -> None:
        """Let the folder go, or remove it when all of it was sent."""
        self._reader.close()
        if remove:
            remove_folder(self.folder)
        os.close(self._lock_fd)


def take_folder(folder: Path) -> DeadJournal | None:
    """Take a dead writer's folder under its lock; None where it lives, is another's or can't be read.

    A folder that another host wrote is left to `lossboard sync`: its pid says nothing here.
    """
    try:
        manifest = read_manifest(folder)
        pid = manifest["pid"]
        if manifest["host"] != socket.gethostname():
            return None
        # Of our own process only the lock tells: a run that gave up waiting has let it go.
        if pid != os.getpid() and is_alive(pid, manifest["pid_started"]):
            return None
        lock_fd = take_lock(folder / "lock")
        if lock_fd is None:
            return None
        try:
            return DeadJournal(folder, manifest, lock_fd)
        except BaseException:
            os.close(lock_fd)
            raise
    except (OSError, ValueError, KeyError, TypeError):
        return None  # torn before its first record, of another format, or gone this moment


def deliver_dead(journal: DeadJournal) -> Delivery:
    """Make the delivery of a dead writer's records, as its own process would have sent them."""
    manifest = journal.manifest
    body: dict[str, Any] = {key: manifest[key] for key in PUT_KEYS if key in manifest}
    started = float(body["attempt"]["started_unix_s"])
    run = wire.check_run_id(manifest["run"])
    return Delivery(journal, run, started, int(manifest["rank"]), lambda: dict(body))


class Takeover:
    """Finds dead writers of the same state folder and sends what they left, a request a call."""

    def __init__(self, settings: Settings, own_writer: str) -> None:
        self._root = settings.dir / "journal"
        self._url = settings.url
        self._own = own_writer
        self._next_scan = 0.0
        self._waiting: list[Path] = []
        self._journal: DeadJournal | None = None
        self._delivery: Delivery | None = None

    def send_some(self, transport: Transport) -> bool:
        """Send one request's worth; return whether there is more to do at once.

        Raises: Unreachable, as every delivery does.
        """
        if self._journal is None and not self._take_next():
            return False
        journal, delivery = self._journal, self._delivery
        assert journal is not None
        assert delivery is not None
        try:
            if delivery.send_some(transport, journal.faults):
                return True
            state = journal.manifest.get("ended")
            if state in wire.END_STATES and not journal.manifest.get("is_forked"):
                delivery.send_state(transport, state, journal.faults)
            journal.close(remove=True)
        except Refused:
            journal.close(remove=False)  # not taken today: it keeps, and a later run tries again
        self._journal = self._delivery = None
        return True

    def _take_next(self) -> bool:
        if not self._waiting:
            if time.monotonic() < self._next_scan:
                return False
            self._next_scan = time.monotonic() + SCAN_S
            self._waiting = [path for path in sorted(self._root.glob("*")) if path.name != self._own]
        while self._waiting:
            journal = take_folder(self._waiting.pop(0))
            if journal is None:
                continue
            if journal.manifest.get("address") in (None, self._url):
                try:
                    self._journal, self._delivery = journal, deliver_dead(journal)
                    return True
                except (ValueError, KeyError, TypeError):
                    journal.close(remove=False)  # a manifest that isn't ours
                    continue
            journal.close(remove=False)  # it was meant for another service
        return False
