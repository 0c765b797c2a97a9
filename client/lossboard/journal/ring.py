"""The newest records in memory, for as long as the disk takes none, and their way back into the files."""

import errno
import os
from collections import deque
from collections.abc import Callable
from itertools import groupby

from lossboard.journal.reading import SEGMENT_SLOTS, Indexed
from lossboard.journal.slots import SLOT_BYTES, unpack


class Ring:
    """Packed records by index, from `start` to before `next`; the oldest go where there is no room.

    One thread at a time puts, one other takes; they share no lock.
    """

    def __init__(self, start: int, most: int) -> None:
        self.start = self.next = start
        self._slots: deque[tuple[int, bytes]] = deque(maxlen=most)

    def put(self, slot: bytes) -> None:
        """Add one record behind the others."""
        self._slots.append((self.next, slot))
        self.next += 1

    def take(self, limit: int, expected: int) -> list[Indexed]:
        """Take out the oldest records from index `expected` on."""
        taken: list[Indexed] = []
        while self._slots and len(taken) < limit:
            index, slot = self._slots.popleft()
            if index >= expected:  # the disk may have taken some, and the reader found them there
                taken.append((index, unpack(slot)[0]))
        return taken

    def save(self, open_segment: Callable[[int], int]) -> tuple[int, int, int]:
        """Write what is here to where it belongs in the files; it stays here too.

        Between the last record on disk and the first one here empty slots may be left, for
        those that were sent from memory or dropped. A reader jumps over them.

        Returns the descriptor of the last segment, its number and the slots left in it.
        Raises: OSError where the disk takes not all of it; what it took is cut at the next try.
        """
        waiting = list(self._slots.copy()) or [(self.next, b"")]
        fd = number = room = -1
        for number, group in groupby(waiting, key=lambda entry: entry[0] // SEGMENT_SLOTS):
            if fd >= 0:
                os.close(fd)
            fd = open_segment(number)
            try:
                room = _fill(fd, list(group))
            except OSError:
                os.close(fd)
                raise
        return fd, number, room


def _fill(fd: int, waiting: list[tuple[int, bytes]]) -> int:
    first = waiting[0][0] % SEGMENT_SLOTS
    os.ftruncate(fd, first * SLOT_BYTES)
    content = b"".join(slot for _, slot in waiting)
    if os.write(fd, content) != len(content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return SEGMENT_SLOTS - first - len(content) // SLOT_BYTES
