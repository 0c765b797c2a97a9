"""A writer's folder, read: its manifest, series, mark and records, by its own process or by any other."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from lossboard.slots import SLOT_BYTES, Stored, unpack

FORMAT: Final = 1  # of the folder; in run.json
SEGMENT_SLOTS: Final = 65_536
SEGMENT_BYTES: Final = SEGMENT_SLOTS * SLOT_BYTES  # 4 MiB
READ_SLOTS: Final = 5_000  # records read at a time where nobody asks for another number

Indexed = tuple[int, Stored | None]


class Series(NamedTuple):
    """What a series number of a writer stands for."""

    name: str
    reduction: str
    weight_unit: str
    weight_source: str


class Reader:
    """Reads a folder's records forward from an index, also while another thread appends.

    `position` is the index of the next record. Whole segments that are gone are jumped
    over; a piece of a slot at the very end is not there yet.
    """

    def __init__(self, folder: Path, start: int = 0) -> None:
        self.position = start
        self._folder = folder
        self._segment = -1
        self._fd = -1

    def read(self, limit: int = READ_SLOTS) -> list[Indexed]:
        """Return up to `limit` records with their indices, None for a damaged one; [] at the end."""
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
            start = self.position
            records = unpack(block)
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
        os.lseek(self._fd, slot * SLOT_BYTES, os.SEEK_SET)
        block = os.read(self._fd, wanted)
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
    """Return run.json.

    Raises: OSError or ValueError where there is none to be read.
    """
    manifest = json.loads((folder / "run.json").read_bytes())
    if not isinstance(manifest, dict):
        raise ValueError("run.json holds no object")
    if manifest.get("format") != FORMAT:
        raise ValueError(f"run.json has format {manifest.get('format')!r}; this client reads {FORMAT}")
    return manifest


def read_series(folder: Path) -> list[Series]:
    """Return the series by number; a torn last line was never used by a record."""
    found: list[Series] = []
    for entry in _read_entries(folder):
        if "reduction" in entry:
            found.append(
                Series(entry["series"], entry["reduction"], entry["weight_unit"], entry["weight_source"])
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
    try:
        lines = (folder / "series.jsonl").read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines[:-1]]  # what stands behind the last newline is torn


def read_acked(folder: Path) -> int:
    """Return the index of the first record that the service has not acknowledged."""
    try:
        return int((folder / "acked").read_text())
    except (FileNotFoundError, ValueError):
        return 0  # never acknowledged; sending again costs time only, the service skips duplicates


def write_acked(folder: Path, upto: int) -> None:
    """Move the mark, then unlink the segments that lie wholly below it."""
    write_whole(folder / "acked", str(upto).encode())
    for number in segment_numbers(folder):
        if (number + 1) * SEGMENT_SLOTS > upto:
            break
        segment_path(folder, number).unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file at once: a reader sees the old content or the new."""
    draft = path.with_name(path.name + ".new")
    draft.write_bytes(content)
    draft.replace(path)


def remove_folder(folder: Path) -> None:
    """Remove a writer's folder, run.json last, so that a half-removed one is still known."""
    names = sorted(folder.iterdir(), key=lambda path: path.name == "run.json")
    for path in names:
        path.unlink(missing_ok=True)
    folder.rmdir()


def segment_numbers(folder: Path) -> list[int]:
    """Return the numbers of the segments that are there, ascending."""
    stems = (path.stem for path in folder.iterdir() if path.suffix == ".seg")
    return sorted(int(stem) for stem in stems if stem.isdecimal())


def segment_path(folder: Path, number: int) -> Path:
    """Return where a segment lies."""
    return folder / f"{number:06d}.seg"


_BINARY: Final[int] = getattr(os, "O_BINARY", 0)
