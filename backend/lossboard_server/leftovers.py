"""Noticing what killed trainings left in this service's state folder, and having it sent by `lossboard sync`.

The service reads no journal itself: of the client it knows only the wire. It looks whether
there is a folder whose writer is gone, and starts the client's own command on it.
"""

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lossboard_server.services import is_alive

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOOK_S: Final = 10.0  # between two looks; one costs a listing, and for each folder a file of 1 kB and a lock
FIRST_RETRY_S: Final = 60.0  # for a folder that was still there after a sync: another machine's, say
LAST_RETRY_S: Final = 3600.0
END_S: Final = 2.0  # for a sync to end when the service does; a kill costs it nothing, the journal keeps
MAX_MANIFEST_BYTES: Final = 1 << 20
_OTHERS_SETTINGS: Final = ("LOSSBOARD_URL", "LOSSBOARD_TOKEN", "LOSSBOARD_RUN_ID")

_log = logging.getLogger("lossboard_server")


class Leftovers:
    """A thread that looks for dead writers every `look_s` seconds, with at most one sync at a time."""

    def __init__(self, folder: Path, *, look_s: float = LOOK_S) -> None:
        self._folder = folder
        self._look_s = look_s
        self._retries: dict[str, tuple[float, float]] = {}  # writer → not before, and how long it waited
        self._told: set[str] = set()
        self._closing = threading.Event()
        self._sync: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._work, name="leftovers", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking, and end a sync that runs; it goes on at the next start."""
        self._closing.set()
        sync = self._sync
        if sync is not None and sync.poll() is None:
            sync.terminate()
        if self._thread.is_alive():
            self._thread.join(END_S)

    def _work(self) -> None:
        while not self._closing.wait(self._look_s):
            try:
                if self.find():
                    self._send()
            except Exception as error:
                self._tell(f"what killed trainings left can't be sent: {error!r}")

    def find(self) -> list[str]:
        """Return the folders that a sync may send now; each is not returned again before its time."""
        now = time.monotonic()
        found = []
        there = set()
        try:
            with os.scandir(self._folder / "journal") as entries:
                names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            names = []  # no training ever ran here
        for name in names:
            there.add(name)
            not_before, waited = self._retries.get(name, (0.0, 0.0))
            if now < not_before or not _is_free(self._folder / "journal" / name):
                continue
            wait = min(LAST_RETRY_S, 2 * waited or FIRST_RETRY_S)
            self._retries[name] = now + wait, wait
            found.append(name)
        self._retries = {name: retry for name, retry in self._retries.items() if name in there}
        return found

    def _send(self) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in _OTHERS_SETTINGS}
        environment["LOSSBOARD_DIR"] = str(self._folder)
        with subprocess.Popen(
            [sys.executable, "-m", "lossboard", "sync", "--quiet"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as sync:
            self._sync = sync
            if self._closing.is_set():  # `close` came between the start and here
                sync.terminate()
            assert sync.stderr is not None
            said = sync.stderr.read()
        self._sync = None
        if sync.returncode and not self._closing.is_set():
            for line in said.splitlines() or [f"sync ended with {sync.returncode}"]:
                self._tell(line.removeprefix("lossboard: "))

    def _tell(self, line: str) -> None:
        """Log a failure, once."""
        if line not in self._told:
            self._told.add(line)
            _log.warning("%s", line)


def _is_free(folder: Path) -> bool:
    """Whether a folder's writer seems to be gone; the sync makes sure, under the lock."""
    try:
        with open(folder / "run.json", "rb") as file:
            manifest = json.loads(file.read(MAX_MANIFEST_BYTES))
        if isinstance(manifest, Mapping) and _runs_here(manifest):
            return False
    except (OSError, ValueError):
        pass  # torn, or gone this moment: the sync clears up what never held a record
    return not _is_locked(folder / "lock")


def _runs_here(manifest: Mapping[str, Any]) -> bool:
    pid, started = manifest.get("pid"), manifest.get("pid_started")
    is_ours = manifest.get("boot") == _boot_id() and manifest.get("pid_space") == _pid_space()
    return is_ours and type(pid) is int and is_alive(pid, started)


def _is_locked(path: Path) -> bool:
    """Try the lock of a journal without keeping it; Windows tells nothing, the sync does."""
    if fcntl is None:
        return False
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a disk without locks
    finally:
        os.close(descriptor)
    return False


def _boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None


def _pid_space() -> str | None:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None
