"""A throwaway PostgreSQL server for tests: it can be stopped, killed and started again on its port."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import psycopg

from processes import poll

DEBIAN = Path("/usr/lib/postgresql")
OWNER = "postgres"  # who runs it where we are root: initdb refuses root
SUPERUSER = "lossboard"
STOP_TIMEOUT_S = 30.0
# Nothing of a test outlives its server; `is_durable` leaves these out.
CARELESS = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")
SETTINGS = (
    "listen_addresses=127.0.0.1",
    "max_connections=60",
    "shared_buffers=64MB",
    "max_wal_size=512MB",
    "log_min_messages=warning",
)


@cache
def why_not() -> str:
    """Say what is missing to run a server here; empty where nothing is."""
    if find_programs() is None:
        return "its programs are not installed (looked in pg_config --bindir, Debian's folders and the PATH)"
    if os.name != "posix":
        return "the suite runs it on POSIX systems only"
    if os.geteuid() == 0 and _find_owner() is None:
        return f"root can't run it, and there is no user {OWNER}"
    return ""


@cache
def find_programs() -> Path | None:
    """Return the folder of initdb and postgres, the newest where there are several."""
    folders = sorted(DEBIAN.glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    if config := shutil.which("pg_config"):
        asked = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)
        folders.insert(0, Path(asked.stdout.strip()))
    if found := shutil.which("postgres"):
        folders.append(Path(found).parent)
    return next(
        (path for path in folders if (path / "initdb").exists() and (path / "postgres").exists()), None
    )


class PostgresServer:
    """One server on a folder of its own, on a loopback port and a socket."""

    def __init__(self, *, is_durable: bool = False) -> None:
        programs = find_programs()
        assert programs is not None, why_not()
        self._programs = programs
        self._is_durable = is_durable
        # Not below pytest's folder: that one is for us only, and the server may be another user.
        self.folder = Path(tempfile.mkdtemp(prefix="lossboard-pg-"))
        self.port = _find_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            owner = _find_owner()
            assert owner is not None
            os.chown(self.folder, *owner)
            self._as = {"user": owner[0], "group": owner[1], "extra_groups": []}
        initdb = [programs / "initdb", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        self._run(*initdb, f"--username={SUPERUSER}", f"--pgdata={self.folder / 'data'}")

    def start(self) -> "PostgresServer":
        """Start it and wait until it answers."""
        settings = [*SETTINGS, *(() if self._is_durable else CARELESS)]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(self._programs / "postgres", "-D", self.folder / "data", "-p", str(self.port)),
                    *("-k", self.folder),
                    *(part for setting in settings for part in ("-c", setting)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C is pytest's
                **self._as,
            )
        poll(self._answers, "PostgreSQL's first answer")
        return self

    def stop(self) -> None:
        """End it as an administrator does: clients are cut off, what was committed is kept."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it as a crash does; the next start recovers."""
        self._end(signal.SIGQUIT)

    def restart(self) -> None:
        """Stop it and start it on the same port."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """End it and take its folder away."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def is_running(self) -> bool:
        """Whether it was started and not ended."""
        return self._process is not None

    @property
    def log(self) -> str:
        """What the server wrote, over all its starts."""
        return (self.folder / "server.log").read_text(encoding="utf-8", errors="replace")

    def url(self, database: str) -> str:
        """Return the address of a database for `--database`."""
        return f"postgresql+psycopg://{SUPERUSER}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> "psycopg.Connection[tuple[Any, ...]]":
        """Connect without the store, each statement a transaction of its own."""
        return psycopg.connect(
            f"host=127.0.0.1 port={self.port} user={SUPERUSER} dbname={database}", autocommit=True
        )

    def create_database(self, name: str, template: str = "template1") -> str:
        """Make a database, at once where it is a copy of a small one, and return its URL."""
        with self.connect() as connection:
            # Copying files costs a checkpoint, which is nothing without fsync.
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY file_copy')
        return self.url(name)

    def empty_database(self, name: str) -> None:
        """Delete all rows of a database with our tables, and end who is still connected."""
        with self.connect(name) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid != pg_backend_pid()"
            )
            tables = connection.execute(
                "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
                "AND relkind IN ('r', 'p') AND NOT relispartition AND relname != 'alembic_version' "
                "ORDER BY relname = 'runs'"
            ).fetchall()
            connection.execute("; ".join(f"DELETE FROM {table}" for (table,) in tables))
            connection.execute("ALTER SEQUENCE run_keys_key_seq RESTART")

    def drop_database(self, name: str) -> None:
        """Take a database away, whoever is still connected."""
        with self.connect() as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended with {self._process.returncode}:\n{self.log[-2000:]}")
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _end(self, by: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(by)
        self._process.wait(STOP_TIMEOUT_S)
        self._process = None

    def _run(self, *command: object) -> None:
        done = subprocess.run(
            [str(part) for part in command], capture_output=True, text=True, cwd=self.folder, **self._as
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")


@contextmanager
def running_postgres(*, is_durable: bool = False) -> Iterator[PostgresServer]:
    """A server, removed at the end."""
    server = PostgresServer(is_durable=is_durable)
    try:
        yield server.start()
    finally:
        server.remove()


def _find_owner() -> tuple[int, int] | None:
    import pwd

    try:
        entry = pwd.getpwnam(OWNER)
    except KeyError:
        return None
    return entry.pw_uid, entry.pw_gid


def _find_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
