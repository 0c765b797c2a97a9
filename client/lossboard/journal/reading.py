"""A writer's folder, read: its manifest, series, mark and records, by its own process or by any other."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from lossboard.journal.slots import SLOT_BYTES, Stored, unpack

# Of the folder; in run.json. 2 adds to 1: `boot` and `pid_space` beside the pid, the manifest once
# more at the head of series.jsonl, empty slots for a hole, ended-* as an end mark on a full disk.
FORMAT: Final = 2
SEGMENT_SLOTS: Final = 65_536
SEGMENT_BYTES: Final = SEGMENT_SLOTS * SLOT_BYTES  # 4 MiB
READ_SLOTS: Final = 5_000  # records read at a time where nobody asks for another number

_BINARY: Final[int] = getattr(os, "O_BINARY", 0)
_EMPTY_SLOT: Final = bytes(SLOT_BYTES)
_END_MARK: Final = "ended-"

Indexed = tuple[int, Stored | None]


class NewerFormat(ValueError):
    """A folder that a later version of the client wrote: what its files mean is not known here."""


class Series(NamedTuple):
    """What a series number of a writer stands for."""

    name: str
    reduction: str
    weight_unit: str
    weight_source: str

    def meaning(self) -> dict[str, Any]:
        """Return what its numbers mean, as series.jsonl and the wire say it."""
        return {
            "reduction": self.reduction,
            "weight_unit": self.weight_unit,
            "weight_source": self.weight_source,
        }


class Reader:
    """Reads a folder's records forward from an index, also while another thread appends.

    `position` is the index of the next record. Whole segments that are gone and empty
    slots, where a full disk left a hole, are jumped over; a piece of a slot at the very
    end is not there yet.
    """

    def __init__(self, folder: Path, start: int = 0) -> None:
        self.position = start
        self._folder = folder
        self._segment = -1
        self._fd = -1

    def read(self, limit: int = READ_SLOTS) -> list[Indexed]:
        """Return up to `limit` records without a hole between them, None for a damaged one; [] at the end.

        Raises: OSError where the disk fails; the same call may succeed later.
        """
        while True:
            block = self._read_block(limit)
            if not block:
                later = self._later_segment()
                if later is None:
                    return []
                # A look behind: the segment may have been filled between our read and this look.
                block = self._read_block(limit)
                if not block:
                    self.position = later * SEGMENT_SLOTS
                    continue
            records = unpack(block)
            if None in records:
                empty, until = _find_empty(block, records)
                if empty == 0:
                    self.position += until
                    continue
                del records[empty:]
            start = self.position
            self.position += len(records)
            return list(enumerate(records, start))

    def close(self) -> None:
        """Let the open segment go."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = self._segment = -1

    def _read_block(self, limit: int) -> bytes:
        segment, slot = divmod(self.position, SEGMENT_SLOTS)
        if segment != self._segment:
            self.close()
            try:
                self._fd = os.open(segment_path(self._folder, segment), os.O_RDONLY | _BINARY)
            except FileNotFoundError:
                return b""
            self._segment = segment
        wanted = min(limit, SEGMENT_SLOTS - slot) * SLOT_BYTES
        try:
            os.lseek(self._fd, slot * SLOT_BYTES, os.SEEK_SET)
            block = os.read(self._fd, wanted)
        except OSError:
            self.close()  # of a network disk that came back (ESTALE) only a new descriptor works
            raise
        return block[: len(block) // SLOT_BYTES * SLOT_BYTES]

    def _later_segment(self) -> int | None:
        segment = self.position // SEGMENT_SLOTS
        try:
            return next((number for number in segment_numbers(self._folder) if number > segment), None)
        except FileNotFoundError:
            return None  # somebody removed the folder: what is open can still be read, no more will come


def read_records(folder: Path, start: int = 0) -> Iterator[Indexed]:
    """Yield (index, record) from `start` to the end; a damaged record is None, its index counts."""
    reader = Reader(folder, start)
    try:
        while records := reader.read():
            yield from records
    finally:
        reader.close()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return run.json, or where a crash of the machine emptied it what series.jsonl knows of it.

    Raises: OSError or ValueError where there is none to be read, NewerFormat among them.
    """
    try:
        manifest = json.loads((folder / "run.json").read_bytes())
        if not isinstance(manifest, dict):
            raise ValueError("run.json holds no object")
    except (OSError, ValueError):
        spare = next((entry["manifest"] for entry in _read_entries(folder) if "manifest" in entry), None)
        if not isinstance(spare, dict):
            raise
        manifest = spare
    form = manifest.get("format")
    if type(form) is not int or form < 1:
        raise ValueError(f"run.json has format {form!r}")
    if form > FORMAT:
        raise NewerFormat(f"{folder} was written by a newer version of lossboard (journal format {form})")
    for mark in folder.glob(f"{_END_MARK}*"):
        manifest["ended"] = mark.name.removeprefix(_END_MARK)
    return manifest


def mark_ended(folder: Path, state: str) -> None:
    """Note the end without a byte of content, for a disk that is too full for run.json."""
    (folder / f"{_END_MARK}{state}").touch()


def read_series(folder: Path) -> dict[int, Series]:
    """Return the series by number; one whose line is damaged is missing."""
    found: dict[int, Series] = {}
    for entry in _read_entries(folder):
        if "reduction" in entry:
            found[int(entry["number"])] = Series(
                entry["series"], entry["reduction"], entry["weight_unit"], entry["weight_source"]
            )
    return found


def read_traits(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what was told of each series' loss, by the series' name; the newest word counts."""
    found: dict[str, dict[str, Any]] = {}
    for entry in _read_entries(folder):
        if "traits" in entry:
            found[entry["series"]] = found.get(entry["series"], {}) | entry["traits"]
    return found


def _read_entries(folder: Path) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    try:
        lines = (folder / "series.jsonl").read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    for line in lines[:-1]:  # what stands behind the last newline is torn
        with suppress(ValueError):  # the records of a series whose line is damaged are counted as such
            entry = json.loads(line)
            if isinstance(entry, dict):
                entries.append(entry)
    return entries


def read_acked(folder: Path) -> int | None:
    """Return the index of the first record that the service has not acknowledged; None where nobody knows.

    A mark that is torn, or beyond what the files hold, says nothing: sending again costs
    time only, the service skips what it has.
    """
    try:
        content = (folder / "acked").read_bytes().strip()
    except FileNotFoundError:
        return 0  # never acknowledged
    if not content.isdigit() or len(content) > len(str(2**63)):
        return None
    upto = int(content)
    return upto if upto <= find_end(folder) else None


def write_acked(folder: Path, upto: int, *, keep: bool = False) -> None:
    """Move the mark, then unlink the segments that lie wholly below it, unless all shall be kept.

    In place, and in one write of fixed width: a rename over the old mark took 1.5 ms of ext4 for
    every request, since it sees to the content first. A mark that a crash of the machine takes
    costs a second sending.
    """
    fd = os.open(folder / "acked", os.O_WRONLY | os.O_CREAT | _BINARY, 0o600)
    try:
        os.write(fd, b"%019d" % upto)
    finally:
        os.close(fd)
    below = upto // SEGMENT_SLOTS - 1
    if not keep and below >= 0 and segment_path(folder, below).exists():
        for number in segment_numbers(folder):
            if number <= below:
                segment_path(folder, number).unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file at once: a reader sees the old content or the new."""
    draft = path.with_name(path.name + ".new")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    except OSError:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def remove_folder(folder: Path) -> None:
    """Remove a writer's folder, its lock last and before it run.json.

    So a half-removed one is still known, and nobody else can lock it meanwhile.
    """
    order = ("run.json", "lock")
    for path in sorted(folder.iterdir(), key=lambda path: path.name in order and order.index(path.name) + 1):
        path.unlink(missing_ok=True)
    folder.rmdir()


def find_end(folder: Path) -> int:
    """Return the index behind the last record of a folder."""
    numbers = segment_numbers(folder)
    if not numbers:
        return 0
    try:
        size = segment_path(folder, numbers[-1]).stat().st_size
    except FileNotFoundError:
        size = SEGMENT_BYTES  # acknowledged this moment
    return numbers[-1] * SEGMENT_SLOTS + size // SLOT_BYTES


def segment_numbers(folder: Path) -> list[int]:
    """Return the numbers of the segments that are there, ascending."""
    stems = (path.stem for path in folder.iterdir() if path.suffix == ".seg")
    return sorted(int(stem) for stem in stems if stem.isdecimal())


def segment_path(folder: Path, number: int) -> Path:
    """Return where a segment lies."""
    return folder / f"{number:06d}.seg"


def _find_empty(block: bytes, records: list[Stored | None]) -> tuple[int, int]:
    """Return where the first run of empty slots begins and ends; both the length where there is none."""
    count = len(records)
    begin = next((n for n in range(count) if records[n] is None and _is_empty(block, n)), count)
    return begin, next((n for n in range(begin, count) if not _is_empty(block, n)), count)


def _is_empty(block: bytes, slot: int) -> bool:
    return block[slot * SLOT_BYTES : (slot + 1) * SLOT_BYTES] == _EMPTY_SLOT
