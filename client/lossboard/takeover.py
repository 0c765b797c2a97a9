"""Sending what dead writers left: folders whose process is gone and whose lock is free."""

import math
import os
import socket
import time
from pathlib import Path
from typing import Any, Final

from lossboard import wire
from lossboard.delivery import Delivery, Refused
from lossboard.discovery import is_loopback
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
    read_traits,
    remove_folder,
    write_acked,
)
from lossboard.settings import Settings
from lossboard.transport import Transport, Unreachable

SCAN_S: Final = 60.0  # between two looks for dead writers
PUT_KEYS: Final[tuple[str, ...]] = ("project", "name", "config", "tags", "environment", "attempt")


class DeadJournal:
    """The folder of a dead writer, held under its lock; read as its own process would have."""

    def __init__(self, folder: Path, manifest: dict[str, Any], lock_fd: int) -> None:
        self.folder = folder
        self.manifest = manifest
        self.writer = str(manifest["writer"])
        self.series: list[Series] = read_series(folder)
        self.traits = read_traits(folder)
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
        try:
            write_acked(self.folder, upto)
        except OSError as error:  # a full disk, say: what is sent twice is skipped by its index
            self.faults.warn("mark", f"can't note what was sent in {self.folder}: {error}")

    def close(self, *, remove: bool) -> None:
        """Let the folder go, or remove it when all of it was sent."""
        self._reader.close()
        try:
            if remove:
                remove_folder(self.folder)
        except OSError as error:
            self.faults.warn("remove", f"can't remove {self.folder}: {error}")
        finally:
            os.close(self._lock_fd)


def take_folder(folder: Path) -> DeadJournal | None:
    """Take a dead writer's folder under its lock; None where it lives, is another's or can't be read.

    A folder that another host wrote is left alone: its pid says nothing here.
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
        self._run = settings.run
        self._own = own_writer
        self._is_last = False
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
        except Unreachable:
            raise
        except Exception as error:  # one folder that can't be read must not hold up our own records
            journal.faults.warn("takeover", f"can't send {journal.folder}: {error!r}")
            journal.close(remove=False)
        self._journal = self._delivery = None
        return True

    def send_children(self, transport: Transport) -> bool:
        """At the end, the same for what forked children of our own run left: nobody else may come for it.

        Raises: Unreachable, as every delivery does.
        """
        if not self._is_last:
            self._is_last = True
            self._next_scan = math.inf
            self._waiting = [path for path in self._find_folders() if self._is_of_child(path)]
        return self.send_some(transport)

    def _find_folders(self) -> list[Path]:
        return [path for path in sorted(self._root.glob("*")) if path.name != self._own]

    def _is_of_child(self, folder: Path) -> bool:
        try:
            manifest = read_manifest(folder)
        except (OSError, ValueError):
            return False  # what can't be read is nobody's child
        return manifest.get("run") == self._run and manifest.get("is_forked") is True

    def _take_next(self) -> bool:
        if not self._waiting:
            if time.monotonic() < self._next_scan:
                return False
            self._next_scan = time.monotonic() + SCAN_S
            self._waiting = self._find_folders()
        while self._waiting:
            journal = take_folder(self._waiting.pop(0))
            if journal is None:
                continue
            if self._is_meant_for_us(journal.manifest.get("address")):
                try:
                    self._journal, self._delivery = journal, deliver_dead(journal)
                    return True
                except (ValueError, KeyError, TypeError):
                    journal.close(remove=False)  # a manifest that isn't ours
                    continue
            journal.close(remove=False)  # it was meant for another service
        return False

    def _is_meant_for_us(self, address: object) -> bool:
        """Whether a writer that was told `address` may be sent where we send.

        One that was told none meant a service of this machine, and its config is nobody else's business.
        """
        return address == self._url or (address is None and self._url is not None and is_loopback(self._url))
