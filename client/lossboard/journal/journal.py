"""A writer's folder, written: records appended by the training's threads, the mark moved by the sender.

    $LOSSBOARD_DIR/journal/<writer>/  run.json · series.jsonl · 000000.seg … · acked · lock

Where the disk is read-only, full or failing a bounded ring in memory takes its place until it is not.
"""

import errno
import os
import time
from pathlib import Path
from threading import RLock
from typing import Any, Final, NamedTuple

from lossboard.faults import Faults
from lossboard.identity import make_writer_id
from lossboard.journal.drain import Drain
from lossboard.journal.folder import Folder
from lossboard.journal.reading import (
    FORMAT,
    SEGMENT_BYTES,
    SEGMENT_SLOTS,
    Indexed,
    Series,
    remove_folder,
    segment_path,
    write_acked,
)
from lossboard.journal.ring import Ring
from lossboard.journal.slots import MAX_SERIES_NUMBER, SLOT_BYTES

CLOSE_S: Final = 1.0  # for a thread that hangs in `append`, on a network disk that is gone

_write = os.write  # os.write, never mmap: a full disk would answer a store with SIGBUS


class Bounds(NamedTuple):
    """What a journal may take of disk and memory, and how often it tries to leave memory."""

    max_segments: int = 64  # 256 MiB of unsent records online; then the oldest segment goes
    keep_free_bytes: int = 1 << 30  # offline nothing is dropped, but the disk keeps 1 GiB free
    ring_records: int = 49_152  # 64 bytes each and three times that for Python: 10 MiB
    disk_retry_s: float = 5.0  # from memory back to a disk that may have room again; a try costs up to 4 MiB


class Journal:
    """The queue, the offline spool and the crash log of one writer.

    `append` may be called by several threads; `read` and `acknowledge` by one other
    thread, which never waits for them. The index of a record is its position in the files.
    On a network disk `append` waits as long as the disk makes any write wait.
    """

    def __init__(
        self,
        root: Path,
        manifest: dict[str, Any],
        faults: Faults,
        *,
        online: bool = True,
        bounds: Bounds = Bounds(),  # noqa: B008 - immutable
    ) -> None:
        self.writer = make_writer_id()
        self.folder: Path | None = None  # None while nothing at all could be written to disk
        path = root / "journal" / self.writer
        self._files = Folder(path, {"format": FORMAT, "writer": self.writer, **manifest})
        self.series: list[Series] = self._files.series
        self.traits = self._files.traits  # by series name; replaced, never changed in place
        self._drain = Drain(path, faults)
        self._faults = faults
        self._online = online
        self._bounds = bounds if not online else bounds._replace(keep_free_bytes=0)
        self._ring: Ring | None = None
        self._next_try = 0.0
        self._is_closed = False
        # Only threads that log share it, never the sender: a slow service can't hold it. Reentrant, since
        # a signal handler may log inside `append`; a forked child opens a journal of its own.
        self._lock = RLock()
        self._acked = 0  # of the sender
        self._room = 0  # slots certainly left in the segment; 0 in ring mode
        self._segment = self._oldest = 0  # of threads that log
        self._fd = -1
        self._told: dict[str, int] = {}  # counts of losses as run.json has them
        try:
            self._make_folder()
            self._fd = self._open_segment(0)
            self._room = SEGMENT_SLOTS
        except OSError as error:
            self._start_ring(error)

    def append(self, slot: bytes) -> None:
        """Append one packed record; it is in the operating system's hands when this returns.

        Raises: OSError only where strict.
        """
        with self._lock:
            if self._room > 0:
                # Before the write: an exception of a signal handler may come right behind it,
                # and `_room` must never be more than there is. `_roll` looks at the true size.
                self._room -= 1
                try:
                    if _write(self._fd, slot) == SLOT_BYTES:
                        return
                    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                except OSError as raised:
                    error = raised
                self._start_ring(error)
            elif self._ring is None:
                try:
                    self._roll()
                except OSError as raised:
                    self._start_ring(raised)
                self.append(slot)
                return
            self._put_in_ring(slot)

    def declare(self, series: Series) -> int:
        """Give a series its number, on disk before the first record that uses it."""
        with self._lock:
            if len(self.series) > MAX_SERIES_NUMBER:
                raise ValueError(f"more than {MAX_SERIES_NUMBER + 1} series in one run")
            if series not in self.series:  # or two threads met here with the same one
                try:
                    self._files.declare(series)
                except OSError as error:
                    self._start_ring(error)
            return self.series.index(series)

    def tell(self, name: str, traits: dict[str, Any]) -> None:
        """Note what else is known of a series' loss (`wire.TRAITS`)."""
        with self._lock:
            try:
                self._files.tell(name, traits)
            except OSError as error:
                self._start_ring(error)
            self.traits = self._files.traits

    def read(self, limit: int) -> list[Indexed]:
        """Return the next records in order; those that a bound dropped are counted here, exactly."""
        return self._drain.take(limit, self._ring)

    def rewind(self, to: int) -> int | None:
        """Read again what a service lost, from `to` or the oldest record that is here; return from where.

        None where some of it was in memory only: nothing is read again then.
        """
        return self._drain.rewind(to) if self._ring is None else None

    def acknowledge(self, upto: int) -> None:
        """Note that the service has committed every record below `upto`."""
        if self.folder is not None:
            if self._faults.counts() != self._told:  # so that a kill loses no count, and none is made twice
                self.describe_anew(self._count_losses())
            try:
                write_acked(self.folder, upto)
            except OSError as error:
                # Costs nothing but disk: what is sent twice is skipped by its index.
                self._faults.warn("mark", f"can't note what was sent in {self.folder}: {error}")
            self._acked = upto

    def end(self, state: str) -> None:
        """Write the end mark: how the run ended and what this writer has dropped."""
        if self._ring is not None and self._lock.acquire(timeout=CLOSE_S):
            try:
                self._return_to_disk()
                if not self._online and self.unsaved():
                    self._faults.count("journal-full", self.unsaved())
            finally:
                self._lock.release()
        self.describe_anew({"ended": state} | self._count_losses())

    def describe_anew(self, changes: dict[str, Any]) -> None:
        """Change entries of run.json."""
        try:
            self._files.describe(changes)
        except OSError as error:
            self._faults.warn("manifest", f"can't write run.json in {self.folder}: {error}")

    def pending(self) -> int:
        """Return how many records were appended and not yet read."""
        return max(0, self._end() - self._drain.expected)

    def unsaved(self) -> int:
        """Return how many records are not on disk and never were."""
        return 0 if (ring := self._ring) is None else ring.next - ring.start

    def close(self, remove: bool = False) -> None:
        """Let the files and the lock go; `remove` the folder when everything was acknowledged."""
        if not self._lock.acquire(timeout=CLOSE_S):
            return  # a thread hangs in `append`; the end of the process closes everything
        try:
            remove = remove and self._end() <= self._acked  # a thread may have logged behind the last look
            if not remove:
                self._return_to_disk()
            if self._ring is None:  # where a thread ends up that is on its way to append
                self._ring = Ring(self._end(), 1)
            self._room = 0
            self._is_closed = True
            if remove and self.folder is not None:
                try:
                    remove_folder(self.folder)
                except OSError as error:
                    self._faults.warn("remove", f"can't remove {self.folder}: {error}")
            self.abandon()
        finally:
            self._lock.release()

    def abandon(self) -> None:
        """Close the descriptors and nothing else: what a forked child does with its parent's."""
        self._drain.close()
        self._files.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _make_folder(self) -> None:
        self._files.make()
        self._drain.open()
        self.folder = self._files.path

    def _open_segment(self, number: int) -> int:
        return self._files.open_segment(number, self._bounds.keep_free_bytes)

    def _roll(self) -> None:
        size = os.fstat(self._fd).st_size
        if size < SEGMENT_BYTES:
            self._room = (SEGMENT_BYTES - size) // SLOT_BYTES
            return
        fd, old = self._open_segment(self._segment + 1), self._fd
        self._fd, self._segment, self._room = fd, self._segment + 1, SEGMENT_SLOTS
        os.close(old)
        self._oldest = max(self._oldest, self._acked // SEGMENT_SLOTS)
        while self._online and self._segment - self._oldest >= self._bounds.max_segments:
            segment_path(self._files.path, self._oldest).unlink(missing_ok=True)
            self._oldest += 1
            self._faults.warn("journal-full", "no service for too long; the oldest records are dropped")

    def _start_ring(self, error: OSError) -> None:
        """Go on in memory, with the index behind the last whole record on disk."""
        with self._lock:
            if self._ring is not None:
                return
            start = self._find_next()
            self._room = 0
            self._next_try = time.monotonic() + self._bounds.disk_retry_s
            self._ring = Ring(start, self._bounds.ring_records)
            if self._faults.strict:
                raise error
            most = self._bounds.ring_records
            kept = f"memory keeps the newest {most} until the disk or a service takes them"
            self._faults.warn("disk", f"can't write records to the journal ({error}); {kept}")

    def _find_next(self) -> int:
        if self._fd < 0:
            return 0
        used = self._files.cut_torn_slot(self._fd, self._segment)
        return self._segment * SEGMENT_SLOTS + (SEGMENT_SLOTS - self._room if used is None else used)

    def _put_in_ring(self, slot: bytes) -> None:
        if self._ring is not None:
            if self._is_closed:
                self._faults.count("after-finish")
                return
            self._ring.put(slot)
            if time.monotonic() >= self._next_try:
                self._return_to_disk()

    def _return_to_disk(self) -> None:
        """Write what memory holds into the files and go on there; stay in memory where that fails."""
        ring = self._ring
        if ring is None or self._is_closed:
            return
        self._next_try = time.monotonic() + self._bounds.disk_retry_s
        try:
            if self._files.is_there:
                self._files.write_series()
            else:
                self._make_folder()
            saved = ring.save(self._open_segment)
        except OSError:
            return  # the warning when it began said what is wrong
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._segment, self._room = saved
        self._ring = None

    def _count_losses(self) -> dict[str, Any]:
        """What was lost, and up to which index gaps and damage are in that count."""
        self._told = self._faults.counts()
        return {"dropped": self._told, "counted_to": self._drain.expected}

    def _end(self) -> int:
        while True:
            if (ring := self._ring) is not None:  # without the lock: a thread may hang in `append`
                return ring.next
            try:
                return self._segment * SEGMENT_SLOTS + os.fstat(self._fd).st_size // SLOT_BYTES
            except OSError:
                if self._ring is None:  # on a network disk that is gone; else it was closed this moment
                    return self._drain.expected
