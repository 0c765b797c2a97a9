"""The lock of a writer's folder: who holds it may send, and two processes never share a folder."""

import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


def take_lock(path: Path) -> int | None:
    """Lock a file without waiting and return its descriptor, or None where another process has it.

    flock, not lockf: POSIX locks vanish when any descriptor of the file is closed. A file
    system without locks counts as locked by nobody.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        if fcntl is not None:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            _lock_windows(fd)
    except (BlockingIOError, PermissionError):
        os.close(fd)
        return None
    except OSError:
        return fd  # ENOLCK, ENOTSUP: the pid in run.json still tells the living from the dead
    return fd


def _lock_windows(fd: int) -> None:
    import importlib

    msvcrt = importlib.import_module("msvcrt")
    msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
