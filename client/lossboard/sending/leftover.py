"""The folder of a writer that is gone: whether it may be taken, what is left in it, and how its run ended."""

import json
import os
import socket
import time
from pathlib import Path
from typing import Any, Final

from lossboard import wire
from lossboard.faults import Faults
from lossboard.identity import boot_id, is_alive, pid_space
from lossboard.journal.locks import Lock, take_lock
from lossboard.journal.reading import (
    SEGMENT_SLOTS,
    Indexed,
    Reader,
    find_end,
    read_acked,
    read_manifest,
    read_series,
    read_traits,
    remove_folder,
    segment_numbers,
    write_acked,
    write_whole,
)
from lossboard.journal.slots import Stored
from lossboard.sending.delivery import Delivery
from lossboard.sending.transport import Transport

PUT_KEYS: Final[tuple[str, ...]] = ("project", "name", "config", "tags", "environment", "attempt")
TORN_AGE_S: Final = 600.0  # a folder without a manifest may be one that is being made; that takes 1 ms


class NotTaken(Exception):
    """A folder that must be left alone now; the message says why. `is_alive`: its writer still writes."""

    def __init__(self, message: str, *, is_alive: bool = False) -> None:
        super().__init__(message)
        self.is_alive = is_alive


class Leftover:
    """The folder of a dead writer, held under its lock; read as its own process would have.

    `is_copy`: it does not lie where its writer made it. `again`: from the first record that
    is still there instead of the mark. With `keep` nothing is unlinked, only the mark moves.
    """

    def __init__(
        self, folder: Path, lock: Lock, *, is_copy: bool = False, again: bool = False, keep: bool = False
    ) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder)  # anew under the lock: whoever had it may have changed it
        self.writer = str(self.manifest["writer"])
        declared = read_series(folder)
        self.series = list(declared.values())
        self.traits = read_traits(folder)
        self.faults = Faults()
        self._told = {str(name): int(n) for name, n in dict(self.manifest.get("dropped") or {}).items()}
        for reason, count in self._told.items():
            self.faults.count(reason, count)
        self._lock = lock
        self._is_copy = is_copy
        self._keep = keep
        self._places = {number: place for place, number in enumerate(declared)}
        acked = None if again else read_acked(folder)
        # Without a mark that can be trusted what is gone was sent, as far as anybody knows.
        self._expected = min(segment_numbers(folder), default=0) * SEGMENT_SLOTS if acked is None else acked
        # What is missing or damaged below this index is in the counts that run.json has.
        self._counted_to = int(self.manifest.get("counted_to") or 0)
        self.sent = 0  # records behind which the mark was moved, what was lost among them included
        self._start = self._expected
        self._reader = Reader(folder, self._expected)
        self._was_sent = self.manifest.get("delivered") is True and not again

    def read(self, limit: int) -> list[Indexed]:
        """Return the next records; gaps are counted, and those whose series is unknown are as damaged."""
        records = self._reader.read(limit)
        if records:
            missing = records[0][0] - max(self._expected, self._counted_to)
            if missing > 0:
                self.faults.count("journal-full", missing)
            self._expected = records[-1][0] + 1
            records = [(index, record and self._renumber(record)) for index, record in records]
            known = sum(record is None for index, record in records if index < self._counted_to)
            if known:
                self.faults.count("damaged", -known)  # the delivery counts them, once more
        return records

    def rewind(self, to: int) -> int | None:
        """Nothing is read again: `lossboard sync` can be told to start over."""

    def acknowledge(self, upto: int) -> None:
        """Move the mark."""
        self.sent = upto - self._start
        try:
            if self.faults.counts() != self._told:
                self._told = self.faults.counts()
                self._describe({"dropped": self._told, "counted_to": self._expected})
            write_acked(self.folder, upto, keep=self._keep)
        except OSError as error:  # a full disk, say: what is sent twice is skipped by its index
            self.faults.warn("mark", f"can't note what was sent in {self.folder}: {error}")

    def note_delivered(self) -> None:
        """Note in a folder that is kept that there is nothing more to send."""
        try:
            self._describe({"delivered": True})
        except OSError as error:  # a read-only copy: the next sync sends it once more
            self.faults.warn("mark", f"can't note what was sent in {self.folder}: {error}")

    def pending(self) -> int:
        """Return how many records are left to send."""
        return max(0, find_end(self.folder) - self._expected)

    @property
    def is_sent(self) -> bool:
        """Whether an earlier sync of a kept folder sent all of it, its end too."""
        return self._was_sent and not self.pending()

    def make_delivery(self) -> Delivery:
        """Make the delivery of these records, as their own process would have sent them.

        Raises: ValueError, KeyError or TypeError for a manifest that isn't ours.
        """
        manifest = self.manifest
        body: dict[str, Any] = {key: manifest[key] for key in PUT_KEYS if key in manifest}
        started = float(body["attempt"]["started_unix_s"])
        run = wire.check_run_id(manifest["run"])
        return Delivery(self, self.faults, run, started, int(manifest["rank"]), lambda: dict(body))

    def send_end(self, delivery: Delivery, transport: Transport) -> None:
        """Tell the service how the writer ended, once its records are there.

        Raises: Unreachable, Refused.
        """
        state = self.end_state()
        if state is not None:
            delivery.send_state(transport, state)

    def end_state(self) -> str | None:
        """How the writer ended; None where that is its parent's to tell, or nobody here can know.

        Without an end mark it was killed, if this is its machine. A copy from elsewhere
        tells nothing: there it may still run.
        """
        manifest = self.manifest
        if manifest.get("is_forked"):
            return None
        ended = manifest.get("ended")
        if ended is not None:
            return ended if ended in wire.END_STATES else None
        is_own_process = manifest["pid"] == os.getpid() and _counts_our_pids(manifest)
        is_known = _is_this_start(manifest) or (_is_this_host(manifest) and not self._is_copy)
        return "killed" if is_known and not is_own_process else None

    def close(self, *, remove: bool) -> None:
        """Let the folder go, or remove it when all of it was sent."""
        self._reader.close()
        try:
            if remove:
                remove_folder(self.folder)
        except OSError as error:
            self.faults.warn("remove", f"can't remove {self.folder}: {error}")
        finally:
            self._lock.release()

    def _renumber(self, record: Stored) -> Stored | None:
        place = self._places.get(record.series)
        if place is None:
            return None
        return record if place == record.series else record._replace(series=place)

    def _describe(self, changes: dict[str, Any]) -> None:
        self.manifest |= changes
        write_whole(self.folder / "run.json", json.dumps(self.manifest, indent=1).encode())


def take_folder(
    folder: Path, *, is_named: bool = False, is_copy: bool = False, again: bool = False, keep: bool = False
) -> Leftover:
    """Take a dead writer's folder under its lock.

    A folder that another machine wrote is taken only where somebody named it, and without a
    lock that holds only as a copy: its pid says nothing here.

    Raises: NotTaken; OSError, ValueError, KeyError or TypeError where it can't be read.
    """
    manifest = read_manifest(folder)
    if not is_named and not _is_this_start(manifest) and not _is_this_host(manifest):
        raise NotTaken(f"it belongs to {manifest['host']}")
    is_dead = False
    if _counts_our_pids(manifest):
        pid = manifest["pid"]
        # Of our own process only the lock tells: a run that gave up waiting has let it go.
        if pid != os.getpid() and is_alive(pid, manifest["pid_started"]):
            raise NotTaken(f"process {pid} still writes it", is_alive=True)
        is_dead = True
    lock = take_lock(folder / "lock")
    if lock is None:
        raise NotTaken("another process holds it", is_alive=True)
    try:
        if not (is_dead or lock.is_held or is_copy):
            raise NotTaken("its disk knows no locks, so nobody can tell whether its process is gone; copy it")
        return Leftover(folder, lock, is_copy=is_copy, again=again, keep=keep)
    except BaseException:
        lock.release()
        raise


def discard_torn(folder: Path) -> bool:
    """Remove what a kill left between making a folder and its first record; return whether it was that."""
    try:
        if time.time() - folder.stat().st_mtime < TORN_AGE_S or find_end(folder):
            return False
        lock = take_lock(folder / "lock")
        if lock is None:
            return False
        try:
            remove_folder(folder)
        finally:
            lock.release()
    except OSError:
        return False  # not ours to remove, or gone this moment
    return True


def _is_this_start(manifest: dict[str, Any]) -> bool:
    """Whether this start of this machine's kernel wrote it; then locks can be trusted, in any container."""
    boot = manifest.get("boot")
    return boot is not None and boot == boot_id()


def _is_this_host(manifest: dict[str, Any]) -> bool:
    return bool(manifest["host"] == socket.gethostname())


def _counts_our_pids(manifest: dict[str, Any]) -> bool:
    """Whether the pid in the manifest means the same here."""
    if "boot" not in manifest or manifest["boot"] is None:  # format 1, or a system that doesn't tell
        return _is_this_host(manifest)
    return _is_this_start(manifest) and manifest.get("pid_space") == pid_space()
