"""One process a SQLite file: a lock of the operating system on a file beside it."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from sqlalchemy import make_url

from lossboard_server.store.files.mounts import MOUNTINFO, find_network
from lossboard_server.store.files.refusals import DatabaseInUse, NetworkFileSystem, UnusableDatabase

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK_SUFFIX: Final = ".lock"
MAX_ABOUT_BYTES: Final = 4096  # of what a lock file says; more is none of ours
_WINDOWS_OFFSET: Final = 1 << 30  # Windows lets nobody read a locked byte, so it is one beyond the text


class Ownership:
    """A held lock. The system lets go of it when the process ends, however it ends, so none is ever stale."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go; the lock file stays, since removing it would let two processes lock two files."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


@contextmanager
def own(path: Path | None, purpose: str, mountinfo: Path = MOUNTINFO) -> Iterator[None]:
    """Hold a SQLite file for this process alone while a tool works on it.

    `Store` does this by itself, so this is for what opens the file without one:

        with own(database_file(settings.database), "lossboard doctor"):
            engine = open_engine(settings.database)

    `purpose` completes "… is in use by": what others are told. A path of None needs no lock. Ask a live
    service over HTTP first; what is refused here tells who holds the file.

    Raises: DatabaseInUse, NetworkFileSystem; UnusableDatabase where no lock can be made.
    """
    ownership = take_ownership(path, purpose, mountinfo)
    try:
        yield
    finally:
        ownership.release()


def take_ownership(path: Path | None, purpose: str, mountinfo: Path = MOUNTINFO) -> Ownership:
    """Take the lock of a database file without waiting; its folder is made if it is missing. See `own`."""
    if path is None:
        return Ownership(-1)
    # Symlinks and relative paths lead to one file, and that has one lock.
    path = Path(os.path.realpath(path))  # which, unlike Path.resolve, takes a loop of links
    network = find_network(path, mountinfo)
    if network is not None:
        raise NetworkFileSystem(
            f"{path} is on a network file system ({network}), where SQLite's locks do not hold. Put it on a "
            "disk of this machine with --database sqlite:////local/path/lossboard.db, or take PostgreSQL: "
            "--database postgresql+psycopg://…"
        )
    lock = path.with_name(path.name + LOCK_SUFFIX)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UnusableDatabase(
            f"Can't make {lock}: {error.strerror}. The database's folder must be one that this user may "
            "write to and that has room; --database names another."
        ) from error
    try:
        _lock(descriptor)
    except (BlockingIOError, PermissionError):
        about = _read_about(lock)
        os.close(descriptor)
        raise DatabaseInUse(_explain(path, about)) from None
    except OSError as error:
        os.close(descriptor)
        raise UnusableDatabase(
            f"The file system of {path} knows no locks ({error.strerror}), and SQLite needs them. Put the "
            "database on another disk with --database."
        ) from error
    _tell(descriptor, purpose)
    return Ownership(descriptor)


def database_file(url: str) -> Path | None:
    """Return the file of a SQLite URL, made absolute; None for one in memory and for other databases.

    Raises: sqlalchemy.exc.ArgumentError for what is no URL.
    """
    parsed = make_url(url)
    name = parsed.database
    if parsed.get_backend_name() != "sqlite" or not name or name == ":memory:":
        return None
    if name.startswith("file:"):  # SQLite's own URI
        name = unquote(name.removeprefix("file:").partition("?")[0])
        if name.startswith("//"):
            name = "/" + name[2:].partition("/")[2]  # what stands before may only be localhost
        if name in ("", ":memory:") or parsed.query.get("mode") == "memory":
            return None
    return Path(name).absolute()


def _lock(descriptor: int) -> None:
    # flock, not lockf: POSIX locks vanish when any descriptor of the file is closed in this process.
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    import importlib

    msvcrt = importlib.import_module("msvcrt")
    os.lseek(descriptor, _WINDOWS_OFFSET, os.SEEK_SET)
    msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    os.lseek(descriptor, 0, os.SEEK_SET)


def _tell(descriptor: int, purpose: str) -> None:
    """Write who we are, for the message of whoever comes second; a full disk leaves the lock as good."""
    about = {
        "purpose": purpose,
        "pid": os.getpid(),
        "node": socket.gethostname(),
        "since_unix_s": round(time.time(), 3),
    }
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps(about).encode() + b"\n")


def _read_about(lock: Path) -> dict[str, Any]:
    try:
        with lock.open("rb") as file:
            about = json.loads(file.read(MAX_ABOUT_BYTES))
    except (OSError, ValueError):
        return {}  # it is being written this moment, or could not be
    return about if isinstance(about, dict) else {}


def _explain(path: Path, about: dict[str, Any]) -> str:
    holder = str(about.get("purpose") or "another process")
    if "pid" in about:
        # Containers that share a folder count their processes apart.
        node = "" if about.get("node") == socket.gethostname() else f" on {about.get('node')}"
        holder += f" (pid {about['pid']}{node})"
    return (
        f"{path} is in use by {holder}, and one process at a time may write a SQLite file. Use that one "
        "(`lossboard open` shows a running service) or end it first, or name another file: "
        "--database sqlite:////path/to/other.db"
    )
