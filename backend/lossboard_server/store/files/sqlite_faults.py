"""What a SQLite error says of the file: full, damaged, or held by another program."""

import sqlite3
from typing import Final

# SQLite says "full" of ENOSPC only. Over a quota or a limit of the file's size it speaks of a write that
# failed, and where there is no room for the shared memory beside the WAL of its size.
_NO_ROOM: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)


def lacks_room(error: BaseException) -> bool:
    """Tell whether the disk took no more."""
    return _code(error) in _NO_ROOM


def is_damage(error: BaseException) -> bool:
    """Tell whether the file is not as SQLite wrote it."""
    return _code(error) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def is_held(error: BaseException) -> bool:
    """Tell whether another program's transaction lasted for longer than we wait."""
    return _code(error) & 0xFF == sqlite3.SQLITE_BUSY


def _code(error: BaseException) -> int:
    """Return SQLite's extended code of the driver's error or of SQLAlchemy's about it; 0 of any other."""
    cause = getattr(error, "orig", None) or error
    return int(getattr(cause, "sqlite_errorcode", 0))
