"""A writer's folder, written: records appended by the training's threads, the mark moved by the sender.

    $LOSSBOARD_DIR/journal/<writer>/  run.json · series.jsonl · 000000.seg … · acked · lock

Where the disk is read-only, full or failing a bounded ring in memory takes its place.
"""

import errno
import json
import os
from collections import deque
from pathlib import Path
from threading import RLock
from typing import Any, Final

from lossboard.faults import Faults
from lossboard.identity import make_writer_id
from lossboard.locks import take_lock
from lossboard.reading import (
    FORMAT,
    SEGMENT_BYTES,
    SEGMENT_SLOTS,
    Indexed,
    Reader,
    Series,
    remove_folder,
    segment_path,
    write_acked,
    write_whole,
)
from lossboard.slots import MAX_SERIES_NUMBER, SLOT_BYTES, unpack

MAX_SEGMENTS: Final = 64  # 256 MiB of unsent records online; then the oldest segment goes
KEEP_FREE_BYTES: Final = 1 << 30  # offline nothing is dropped, but the disk keeps 1 GiB free
RING_RECORDS: Final = 65_536  # 64 bytes each and what Python adds: about 10 MiB

_APPEND: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)

_write = os.write  # os.write, never mmap: a full disk would answer a store with SIGBUS


class Journal:
    """The queue, the offline spool and the crash log of one writer.

    `append` may be called by several threads; `read` and `acknowledge` by one other
    thread. The index of a record is its position in the files.
    """

    def __init__(
        self,
        root: Path,
        manifest: dict[str, Any],
        faults: Faults,
        *,
        online: bool = True,
        max_segments: int = MAX_SEGMENTS,
        keep_free_bytes: int = KEEP_FREE_BYTES,
        ring_records: int = RING_RECORDS,
    ) -> None:
        self.writer = make_writer_id()
        self.folder: Path | None = root / "journal" / self.writer
        self.manifest = {"format": FORMAT, "writer": self.writer, **manifest}
        self.series: list[Series] = []
        self.traits: dict[str, dict[str, Any]] = {}  # by series name; replaced, never changed in place
        self._faults = faults
        self._online = online
        self._max_segments = max_segments
        self._keep_free_bytes = keep_free_bytes
        self._ring_records = ring_records
        self._ring: deque[tuple[int, bytes]] | None = None
        self._ring_next = 0
        # Only threads that log share it, never the sender: a slow service can't hold it.
        # Reentrant, since a signal handler may log inside `append`; a forked child never
        # takes it, since it opens a journal of its own.
        self._lock = RLock()
        self._room = 0  # slots certainly left in the segment; 0 in ring mode
        self._segment = 0
        self._oldest = 0
        self._fd = self._lock_fd = self._series_fd = -1
        self._reader: Reader | None = None
        self._expected = 0
        try:
            self._open(self.folder)
        except OSError as error:
            self.folder = None
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
            if series in self.series:  # two threads met here with the same one
                return self.series.index(series)
            number = len(self.series)
            entry = {"number": number, "series": series.name, **series._asdict()}
            del entry["name"]
            self._write_entry(entry)
            self.series.append(series)
            return number

    def tell(self, name: str, traits: dict[str, Any]) -> None:
        """Note what else is known of a series' loss (`wire.TRAITS`)."""
        with self._lock:
            self._write_entry({"series": name, "traits": traits})
            self.traits = self.traits | {name: self.traits.get(name, {}) | traits}

    def read(self, limit: int) -> list[Indexed]:
        """Return the next records in order; those that a bound dropped are counted here, exactly."""
        ring = self._ring  # before the files: what they hold then comes before the ring
        records = self._reader.read(limit) if self._reader else []
        if not records and ring is not None:
            while ring and len(records) < limit:
                index, slot = ring.popleft()
                records.append((index, unpack(slot)[0]))
        if records:
            lost = records[0][0] - self._expected
            if lost > 0:
                self._faults.count("journal-full", lost)
            self._expected = records[-1][0] + 1
        return records

    def acknowledge(self, upto: int) -> None:
        """Note that the service has committed every record below `upto`."""
        if self.folder is not None:
            try:
                write_acked(self.folder, upto)
            except OSError as error:
                # Costs nothing but disk: what is sent twice is skipped by its index.
                self._faults.warn("mark", f"can't note what was sent in {self.folder}: {error}")
            self._oldest = max(self._oldest, upto // SEGMENT_SLOTS)

    def end(self, state: str) -> None:
        """Write the end mark: how the run ended and what this writer has dropped."""
        self.describe_anew({"ended": state, "dropped": self._faults.counts()})

    def describe_anew(self, changes: dict[str, Any]) -> None:
        """Change entries of run.json."""
        self.manifest |= changes
        if self.folder is not None:
            try:
                self._write_manifest(self.folder)
            except OSError as error:
                self._faults.warn("manifest", f"can't write run.json in {self.folder}: {error}")

    def pending(self) -> int:
        """Return how many records were appended and not yet read."""
        return max(0, self._end() - self._expected)

    def close(self, remove: bool = False) -> None:
        """Let the files and the lock go; `remove` the folder when everything was acknowledged."""
        with self._lock:
            self._ring_next = self._end()
            self._room = 0
            self._ring = self._ring if self._ring is not None else deque(maxlen=1)
            if self._reader is not None:
                self._reader.close()
            if remove and self.folder is not None:
                try:
                    remove_folder(self.folder)
                except OSError as error:
                    self._faults.warn("remove", f"can't remove {self.folder}: {error}")
            self.abandon()

    def abandon(self) -> None:
        """Close the descriptors and nothing else: what a forked child does with its parent's."""
        for fd in (self._fd, self._series_fd, self._lock_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._series_fd = self._lock_fd = -1

    def _write_entry(self, entry: dict[str, Any]) -> None:
        line = json.dumps(entry).encode() + b"\n"
        if self._ring is None:
            try:
                if _write(self._series_fd, line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                self._start_ring(error)

    def _open(self, folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(mode=0o700)
        lock_fd = take_lock(folder / "lock")
        if lock_fd is None:
            raise OSError(errno.EAGAIN, "another process holds the folder")
        self._lock_fd = lock_fd
        self._write_manifest(folder)
        self._series_fd = os.open(folder / "series.jsonl", _APPEND, 0o600)
        self._open_segment(folder, 0)
        self._reader = Reader(folder)

    def _write_manifest(self, folder: Path) -> None:
        write_whole(folder / "run.json", json.dumps(self.manifest, indent=1).encode())

    def _open_segment(self, folder: Path, number: int) -> None:
        if not self._online and _free_bytes(folder) < self._keep_free_bytes + SEGMENT_BYTES:
            raise OSError(errno.ENOSPC, f"less than {self._keep_free_bytes >> 20} MiB would be left free")
        fd = os.open(segment_path(folder, number), _APPEND, 0o600)
        self._fd, old = fd, self._fd
        self._segment = number
        self._room = SEGMENT_SLOTS
        if old >= 0:
            os.close(old)

    def _roll(self) -> None:
        assert self.folder is not None
        size = os.fstat(self._fd).st_size
        if size < SEGMENT_BYTES:
            self._room = (SEGMENT_BYTES - size) // SLOT_BYTES
            return
        self._open_segment(self.folder, self._segment + 1)
        while self._online and self._segment - self._oldest >= self._max_segments:
            segment_path(self.folder, self._oldest).unlink(missing_ok=True)
            self._oldest += 1
            self._faults.warn("journal-full", "no service for too long; the oldest records are dropped")

    def _start_ring(self, error: OSError) -> None:
        """Go on in memory. It stays there: records after a hole would belie their indices."""
        with self._lock:
            self._room = 0
            if self._fd >= 0:
                size = os.fstat(self._fd).st_size
                self._ring_next = self._segment * SEGMENT_SLOTS + size // SLOT_BYTES
                if size % SLOT_BYTES:
                    os.ftruncate(self._fd, size - size % SLOT_BYTES)
            self._ring = deque(maxlen=self._ring_records)
            if self._faults.strict:
                raise error
            self._faults.warn(
                "disk",
                f"can't write the journal ({error}); the newest {self._ring_records} records are kept in "
                "memory until a service takes them",
            )

    def _put_in_ring(self, slot: bytes) -> None:
        if self._ring is not None:
            self._ring.append((self._ring_next, slot))
            self._ring_next += 1

    def _end(self) -> int:
        with self._lock:
            if self._ring is not None:
                return self._ring_next
            return self._segment * SEGMENT_SLOTS + os.fstat(self._fd).st_size // SLOT_BYTES


def _free_bytes(folder: Path) -> int:
    if hasattr(os, "statvfs"):
        disk = os.statvfs(folder)
        return disk.f_bavail * disk.f_frsize
    import shutil  # late: it costs 10 ms, and only Windows needs it

    return shutil.disk_usage(folder).free
