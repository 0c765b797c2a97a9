"""Contenders that take turns, each in a process of its own that stands still while it is not its turn.

So each sees the machine as if it ran alone from beginning to end, its own threads and helpers included, and
all see the same minutes of it.
"""

import json
import os
import signal
import subprocess
import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

CONTENDER: Final = Path(__file__).with_name("contender.py")
END_TIMEOUT_S: Final = 20.0


class Turns:
    """One contender's process."""

    def __init__(self, name: str, folder: Path, python: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        folder.mkdir()
        self._log = folder / "contender.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(python), str(CONTENDER), name, str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def take(self, first: int, calls: int, how: str) -> "array[int]":
        """Let it make some calls; returns the ns of each. Raises: RuntimeError when it ended instead."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._signal(signal.SIGCONT)
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps([first, calls, how]).encode() + b"\n")
            self._process.stdin.flush()
        answer = self._process.stdout.read(8 * calls)
        if len(answer) < 8 * calls:
            said = self._log.read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"{self.name} ended: {said[-2000:]}")
        self._signal(signal.SIGSTOP)
        return array("q", answer)

    def end(self) -> None:
        """Let it finish what it recorded, and end it where that takes long."""
        self._signal(signal.SIGCONT)
        try:
            self._process.communicate(timeout=END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.communicate()

    def _signal(self, which: signal.Signals) -> None:
        for pid in _family(self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, which)


@contextmanager
def running(contenders: Sequence[Turns]) -> Iterator[Sequence[Turns]]:
    """End all of them at the end, whatever happened."""
    with ExitStack() as stack:
        for contender in contenders:
            stack.callback(contender.end)
        yield contenders


def _family(pid: int) -> list[int]:
    """Return a process and those below it: a peer's helper may have a session of its own."""
    if sys.platform != "linux":
        return [pid]
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    family = [pid]
    for member in family:
        family += [child for child, parent in parents.items() if parent == member]
    return family
