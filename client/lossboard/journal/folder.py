"""The files of a writer's folder but its records, as the writer makes them; reading.py reads them."""

import errno
import json
import os
from contextlib import suppress
from pathlib import Path
from threading import Lock as Mutex
from typing import Any, Final

from lossboard.journal.locks import Lock, take_lock
from lossboard.journal.reading import (
    SEGMENT_BYTES,
    Series,
    mark_ended,
    remove_folder,
    segment_path,
    write_whole,
)
from lossboard.journal.slots import SLOT_BYTES

_APPEND: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)


class Folder:
    """A writer's folder, held under its lock from the moment that it is made.

    What it is told it keeps in memory too, so that it can be made or written again on a
    disk that failed. Everything here raises OSError where the disk fails.
    """

    def __init__(self, path: Path, manifest: dict[str, Any]) -> None:
        self.path = path
        self.manifest = manifest
        self.series: list[Series] = []
        self.traits: dict[str, dict[str, Any]] = {}  # by series name; replaced, never changed in place
        self._lock: Lock | None = None
        self._series_fd = -1
        # Of run.json, which the script's thread and the sender's write. A forked child never takes it.
        self._describing = Mutex()

    @property
    def is_there(self) -> bool:
        """Whether it was made, and nobody removed it since."""
        return self._lock is not None and (self.path / "lock").exists()

    def make(self) -> None:
        """Make it, lock it, and write all that must be there before the first record."""
        self.close()
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.mkdir(mode=0o700)
        try:
            self._lock = take_lock(self.path / "lock")
            if self._lock is None:
                raise OSError(errno.EAGAIN, "another process holds the folder")
            self._write_manifest()
            self.write_series()
        except OSError:
            self.close()
            with suppress(OSError):  # whoever takes over later removes what holds no record
                remove_folder(self.path)
            raise

    def describe(self, changes: dict[str, Any]) -> None:
        """Change entries of run.json; an end is noted also where the disk is too full for that."""
        with self._describing:
            self.manifest = self.manifest | changes
            if self._lock is None:
                return
            try:
                self._write_manifest()
            except OSError:
                if "ended" in changes:
                    mark_ended(self.path, changes["ended"])
                raise

    def declare(self, series: Series) -> int:
        """Give a series its number, on disk before the first record that uses it."""
        # A signal handler may declare another one in the middle of this, or raise: of two lines of one
        # number the later counts. No handler comes between operators, only after calls.
        while series not in self.series:
            number = len(self.series)
            try:
                self._add(_describe(number, series))
            except OSError:
                self.series += [series]
                raise
            if not self.series[number:]:
                self.series += [series]
            else:  # its line may stand before ours
                self._add(_describe(number, self.series[number]))
        return self.series.index(series)

    def tell(self, name: str, traits: dict[str, Any]) -> None:
        """Note what else is known of a series' loss."""
        self.traits = self.traits | {name: self.traits.get(name, {}) | traits}
        self._add({"series": name, "traits": traits})

    def write_series(self) -> None:
        """Write series.jsonl anew, the manifest at its head: a crash may empty a file that was replaced."""
        entries: list[dict[str, Any]] = [{"manifest": self.manifest}]
        entries += [_describe(number, series) for number, series in enumerate(self.series)]
        entries += [{"series": name, "traits": known} for name, known in self.traits.items()]
        path = self.path / "series.jsonl"
        write_whole(path, b"".join(map(_line, entries)))
        self._series_fd, old = os.open(path, _APPEND, 0o600), self._series_fd
        if old >= 0:
            os.close(old)

    def open_segment(self, number: int, keep_free_bytes: int) -> int:
        """Open a segment for appending, where so much and the segment itself would be left free."""
        if keep_free_bytes and _free_bytes(self.path) < keep_free_bytes + SEGMENT_BYTES:
            raise OSError(errno.ENOSPC, f"less than {keep_free_bytes >> 20} MiB would be left free")
        return os.open(segment_path(self.path, number), _APPEND, 0o600)

    def cut_torn_slot(self, fd: int, number: int) -> int | None:
        """Cut what a full disk took of a slot from the end of a segment that is open as `fd`.

        Returns how many slots it has; None where the disk doesn't tell.
        """
        with suppress(OSError):
            size = os.fstat(fd).st_size
            if size % SLOT_BYTES:
                os.ftruncate(fd, size - size % SLOT_BYTES)
            return size // SLOT_BYTES
        with suppress(OSError):  # a network disk forgot the open file, not its name
            return segment_path(self.path, number).stat().st_size // SLOT_BYTES
        return None

    def close(self) -> None:
        """Let the descriptors and the lock go."""
        if self._series_fd >= 0:
            os.close(self._series_fd)
            self._series_fd = -1
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _write_manifest(self) -> None:
        write_whole(self.path / "run.json", json.dumps(self.manifest, indent=1).encode())

    def _add(self, entry: dict[str, Any]) -> None:
        if self._series_fd >= 0:
            line = _line(entry)
            if os.write(self._series_fd, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _describe(number: int, series: Series) -> dict[str, Any]:
    return {"number": number, "series": series.name} | series.meaning()


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry).encode() + b"\n"


def _free_bytes(folder: Path) -> int:
    if hasattr(os, "statvfs"):
        disk = os.statvfs(folder)
        return disk.f_bavail * disk.f_frsize
    import shutil  # late: it costs 10 ms, and only Windows needs it

    return shutil.disk_usage(folder).free
