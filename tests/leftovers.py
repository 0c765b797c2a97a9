"""Folders as dead writers leave them, for tests of whoever takes them over."""

import socket
from pathlib import Path
from typing import Any

from journals import MEANING, make_slot
from lossboard.faults import Faults
from lossboard.identity import boot_id, pid_space
from lossboard.journal.journal import Journal
from lossboard.journal.reading import Indexed
from lossboard.sending.leftover import Leftover

FORMER = Path(__file__).parent / "client" / "journal" / "former"  # of former formats, in bytes
NO_PID = 2**22 + 1  # beyond the largest that Linux gives

HERE: dict[str, Any] = {
    "host": socket.gethostname(),
    "boot": boot_id(),
    "pid_space": pid_space(),
    "pid": NO_PID,
}
ELSEWHERE: dict[str, Any] = {
    "host": "compute-node",
    "boot": "another machine's",
    "pid_space": "pid:[1]",
    "pid": 1,
}


def make_folder(root: Path, run: str = "A", count: int = 3, **manifest: Any) -> Path:
    """Make what a writer left that logged `count` batches; `manifest` says whose it was."""
    about: dict[str, Any] = {"run": run, "attempt": {"started_unix_s": 1.0}, "rank": 0, "is_forked": False}
    journal = Journal(root, about | {"pid_started": 1} | manifest, Faults(strict=True))
    journal.declare(MEANING)
    for batch in range(count):
        journal.append(make_slot(batch))
    journal.close()
    assert journal.folder is not None
    return journal.folder


def read_all(left: Leftover) -> list[Indexed]:
    """Read all that is left to send."""
    found: list[Indexed] = []
    while records := left.read(1000):
        found += records
    return found


def indices(left: Leftover) -> list[int]:
    """Read the indices of all that is left to send."""
    return [index for index, _ in read_all(left)]
