"""Looking at a SQLite file before it is opened for writing: what is refused is left byte for byte as it was.

Opening for good switches a file to WAL, rolls forward what a kill left and upgrades tables, so a file of a
later release, of something else or with damage has to be known before. What only a full check finds is
`lossboard doctor`'s.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from lossboard_server.store.files.refusals import (
    DamagedDatabase,
    ForeignDatabase,
    NewerDatabase,
    UnusableDatabase,
)
from lossboard_server.store.files.sqlite_faults import is_damage

MAGIC: Final = b"SQLite format 3\0"
HEADER_BYTES: Final = 100
OTHER: Final = "--database sqlite:////path/to/other.db names another file."
REPAIR: Final = (
    "Nothing was changed. `lossboard doctor` says what is damaged and what can be saved; a file of "
    "`lossboard backup` can be put in its place."
)


def inspect_file(path: Path, known: frozenset[str]) -> None:
    """Refuse a file that this release must not write to; one that is missing or empty is made by it.

    `known` names the migrations there are.

    Raises: NewerDatabase, ForeignDatabase, DamagedDatabase, UnusableDatabase.
    Cost: 0.3 ms, whatever the file's size.
    """
    if not os.path.lexists(path):
        return
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "no ordinary file"
        raise UnusableDatabase(f"{path} is {kind}, and the database is a file. {OTHER}")
    try:
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
    except OSError as error:
        raise UnusableDatabase(f"Can't read {path}: {error.strerror}. {OTHER}") from error
    if not os.access(path, os.W_OK):
        raise UnusableDatabase(
            f"{path} may not be written to by this user, or is on a read-only disk. Start as the user "
            f"who owns it, or: {OTHER}"
        )
    if not header:
        return
    has_wal = _size(path.with_name(path.name + "-wal")) > 0
    _check_header(path, header, is_whole=not has_wal)
    _check_tables(path, known, has_wal=has_wal)


def _check_header(path: Path, header: bytes, *, is_whole: bool) -> None:
    """Check what SQLite's first 100 bytes say; a file whose newest pages are in its WAL may be shorter.

    Source: https://www.sqlite.org/fileformat.html, section 1.3.
    """
    if header[:16] != MAGIC or len(header) < HEADER_BYTES:
        raise DamagedDatabase(
            f"{path} is no SQLite database, or its beginning was overwritten. "
            f"If it never was one: {OTHER} {REPAIR}"
        )
    page_size = int.from_bytes(header[16:18], "big")
    page_size = 65536 if page_size == 1 else page_size
    pages = int.from_bytes(header[28:32], "big")
    is_counted = header[24:28] == header[92:96]  # else an old SQLite wrote it, which counts no pages
    if is_whole and is_counted and _size(path) < pages * page_size:
        raise DamagedDatabase(
            f"{path} was cut off: it has {_size(path):,} bytes of {pages * page_size:,}. {REPAIR}"
        )


def _check_tables(path: Path, known: frozenset[str], *, has_wal: bool) -> None:
    # Read-only, SQLite still makes the files beside one in WAL mode, unless it may take it for immutable.
    mode = "mode=ro" if has_wal else "immutable=1"
    uri = path.absolute().as_uri()
    try:
        with closing(sqlite3.connect(f"{uri}?{mode}", uri=True)) as connection:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
            query = "SELECT version_num FROM alembic_version"
            versions = connection.execute(query).fetchall() if "alembic_version" in tables else []
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            raise DamagedDatabase(f"{path} is damaged: {error}. {REPAIR}") from error
        raise UnusableDatabase(f"Can't read {path}: {error}. {OTHER}") from error
    found = str(versions[0][0]) if versions else None
    if found is None and tables:
        raise ForeignDatabase(f"{path} holds tables of something else than Lossboard. {OTHER}")
    if found is not None:
        check_version(found, known)


def check_version(found: str, known: frozenset[str]) -> None:
    """Refuse a database at a migration that this release doesn't have.

    Raises: NewerDatabase.
    """
    if found not in known:
        raise NewerDatabase(
            f"The database is at version {found}, and this Lossboard knows only up to {max(known)}. "
            "Nothing was changed. Upgrade Lossboard, or name another file with --database."
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
