"""What the sender takes out of a journal: first from the files, then from memory; each gap counted once."""

from pathlib import Path

from lossboard.faults import Faults
from lossboard.journal.reading import SEGMENT_SLOTS, Indexed, Reader, segment_numbers
from lossboard.journal.ring import Ring


class Drain:
    """Reads a journal's records in order while others append. For one thread."""

    def __init__(self, folder: Path, faults: Faults) -> None:
        self.expected = 0  # index of the next record
        self._counted_to = 0  # gaps below are counted
        self._from_memory_to = 0  # behind the last record that was never read from a file
        self._folder = folder
        self._faults = faults
        self._reader: Reader | None = None
        self._next_reader: Reader | None = None

    def take(self, limit: int, ring: Ring | None) -> list[Indexed]:
        """Return the next records; those that a bound dropped are counted here, exactly."""
        records = self._read(limit)
        if records is None:
            return []
        if not records and ring is not None:
            records = ring.take(limit, self.expected)
            if records:
                self._from_memory_to = records[-1][0] + 1
        if records:
            lost = records[0][0] - max(self.expected, self._counted_to)
            if lost > 0:
                self._faults.count("journal-full", lost)
            self.expected = records[-1][0] + 1
            self._counted_to = max(self._counted_to, self.expected)
        return records

    def rewind(self, to: int) -> int | None:
        """Read the files again from `to` on, or from the oldest record there.

        None where that can't be done, as with records that were in memory only.
        """
        if self._reader is None or self._next_reader is not None or to < self._from_memory_to:
            return None
        try:
            oldest = min(segment_numbers(self._folder)) * SEGMENT_SLOTS
        except (OSError, ValueError):  # somebody removed the folder
            return None
        self.expected = self._reader.position = min(self.expected, max(to, oldest))
        return self.expected

    def open(self) -> None:
        """Go over to the folder's new files, once those that are open and that somebody removed are read."""
        self._next_reader = Reader(self._folder)

    def close(self) -> None:
        """Let the open file go."""
        if self._reader is not None:
            self._reader.close()

    def _read(self, limit: int) -> list[Indexed] | None:
        """Read the files; None where they can't be read now: what is in memory must wait behind them."""
        records: list[Indexed] = []
        try:
            if self._reader is not None:
                # What was taken from memory may meanwhile stand in the files too.
                self._reader.position = max(self._reader.position, self.expected)
                records = self._reader.read(limit)
        except OSError as error:
            self._faults.warn("read", f"can't read the journal in {self._folder}, trying again: {error}")
            return None
        if not records and self._next_reader is not None:
            self.close()
            self._reader, self._next_reader = self._next_reader, None
            return self._read(limit)
        return records
