"""`lossboard backup`: a copy of the SQLite file while the service writes to it, whole or not there."""

import argparse
import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote

from lossboard_server.commands.progress import make_bar, tell_bytes
from lossboard_server.remote import RemoteError
from lossboard_server.services import live_services
from lossboard_server.settings import SettingError, Settings, add_options, state_folder

PAGES_A_STEP: Final = 1024  # 4 MiB
BUSY_TIMEOUT_S: Final = 10.0


def main(arguments: Sequence[str]) -> int:
    """Copy the database of the running service, or the one that --database names, to a file.

    Raises: SettingError for what can't be copied so; remote.RemoteError where it went wrong.
    """
    options = _make_parser().parse_args(arguments)
    source, target = _find_source(options), Path(options.file)
    if target.exists() and not options.force:
        raise SettingError(f"{target} is there already. --force replaces it, once the copy is complete.")
    if target.exists() and target.samefile(source):
        raise SettingError(f"{target} is the database itself.")
    part = target.with_name(f"{target.name}.part")
    try:
        _forget(part)  # of a copy that was killed: it begins anew
        _copy(source, part)
        _finish(part, is_compact=options.compact)
        part.replace(target)
        _sync_folder(target)
    except sqlite3.Error as error:
        _forget(part)
        raise RemoteError(f"The copy of {source} failed: {error}. {target} was not written.") from None
    except OSError as error:
        _forget(part)
        raise RemoteError(f"Can't write {target}: {error.strerror}.") from None
    except BaseException:
        _forget(part)
        raise
    print(
        f"Wrote {target} ({tell_bytes(target.stat().st_size)}), checked. Use it: --database sqlite:///{target}"
    )
    return 0


def _find_source(options: argparse.Namespace) -> Path:
    """Return the file that is meant: the named one, else the live service's, else the default."""
    from sqlalchemy.exc import ArgumentError

    from lossboard_server.store.files.ownership import database_file

    folder = state_folder(options.dir, os.environ)
    settings = Settings.resolve({"dir": options.dir, "database": options.database}, os.environ)
    url = settings.database
    if not options.database and not os.environ.get("LOSSBOARD_DATABASE"):
        port = None if options.port is None else Settings.resolve({"port": options.port}, {}).port
        services = [service for service in live_services(folder) if port in (None, service.port)]
        if port is not None and not services:
            raise RemoteError(f"No Lossboard of yours runs on port {port}.")
        url = services[0].database if services else url
    try:
        file = database_file(url)
    except ArgumentError as error:
        raise SettingError(f"--database can't be read: {error}") from None
    if file is None:
        raise SettingError(
            "This copies SQLite files only. PostgreSQL has its own tool, which also works online: "
            "pg_dump --format=custom --file=lossboard.dump DATABASE"
        )
    if not file.exists():
        raise SettingError(f"There is no database {file}. --database names another.")
    return file


def _copy(source: Path, part: Path) -> None:
    """Copy one moment of the file; whoever writes meanwhile is neither waited for nor held up.

    The open read transaction is what keeps it one moment: without it SQLite begins anew with
    every commit of another process, and beside a busy service would never end. The write-ahead log
    keeps what is committed meanwhile and shrinks again afterwards.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    # Made here, so that it is for this user only from the start.
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    address = f"file:{quote(str(source))}?mode=rw"  # as a reader: shared memory beside the file must be made
    with (
        closing(sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as origin,
        closing(sqlite3.connect(part)) as copy,
    ):
        origin.execute("BEGIN")
        origin.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        size = int(origin.execute("PRAGMA page_size").fetchone()[0])
        pages = int(origin.execute("PRAGMA page_count").fetchone()[0])
        with make_bar("copying", pages * size, "bytes") as bar:
            origin.backup(
                copy,
                pages=PAGES_A_STEP,
                progress=lambda _, left, total: bar.update((total - left) * size - bar.n),
            )


def _finish(part: Path, *, is_compact: bool) -> None:
    """Check the copy and make it one file that stands alone, safe on the disk."""
    with closing(sqlite3.connect(part, isolation_level=None)) as copy:
        # So that it can be opened where only reading is allowed; a service turns it back.
        copy.execute("PRAGMA journal_mode = DELETE").fetchone()
        if is_compact:
            copy.execute("VACUUM")
        found = [row[0] for row in copy.execute("PRAGMA quick_check(5)")]
    if found != ["ok"]:
        raise RemoteError(
            f"The copy is damaged, and so is the database: {'; '.join(found)[:300]}. `lossboard doctor` "
            "tells more. Nothing was written."
        )
    with part.open("rb+") as file:
        os.fsync(file.fileno())


def _forget(part: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        with suppress(OSError):
            part.with_name(part.name + suffix).unlink(missing_ok=True)


def _sync_folder(target: Path) -> None:
    if os.name != "posix":
        return
    folder = os.open(target.absolute().parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lossboard backup",
        description="Copy the SQLite database while the service runs, and check the copy. Deleted runs "
        "leave free room in the file, which later records fill; --compact leaves it out of the copy.",
    )
    parser.add_argument("file", metavar="FILE", help="where to; written when it is complete")
    parser.add_argument("--force", action="store_true", help="replace FILE if it is there")
    parser.add_argument(
        "--compact", action="store_true", help="leave out free room; takes that room once more"
    )
    add_options(parser, "port", "dir", "database")
    return parser
