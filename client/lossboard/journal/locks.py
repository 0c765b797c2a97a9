"""The lock of a writer's folder: who holds it may send, and two processes never share a folder."""

import errno
import os
from pathlib import Path
from typing import Final, NamedTuple

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_READ_ONLY: Final = (errno.EROFS, errno.EACCES, errno.EPERM)


class Lock(NamedTuple):
    """A lock file's descriptor; `is_held` False where the file system knows no locks.

    Then nobody else is kept out, and only the writer's process can tell whether the folder is free.
    """

    fd: int
    is_held: bool

    def release(self) -> None:
        """Let the lock go."""
        if self.fd >= 0:
            os.close(self.fd)


def take_lock(path: Path) -> Lock | None:
    """Lock a file without waiting, made if need be; None where another process has it.

    flock, not lockf: POSIX locks vanish when any descriptor of the file is closed. On a
    read-only disk, where no lock file can be made, nothing is held and nothing needs to be.

    Raises: OSError where the folder is gone.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        try:
            fd = os.open(path, os.O_RDONLY)
        except OSError:
            return Lock(-1, is_held=False)
    try:
        if fcntl is not None:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            _lock_windows(fd)
    except (BlockingIOError, PermissionError):
        os.close(fd)
        return None
    except OSError:
        return Lock(fd, is_held=False)  # ENOLCK, ENOTSUP, ENOSYS
    return Lock(fd, is_held=True)


def _lock_windows(fd: int) -> None:
    import importlib

    msvcrt = importlib.import_module("msvcrt")
    msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
