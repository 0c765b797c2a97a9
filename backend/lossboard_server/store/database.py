"""The engine, and all that differs between SQLite and PostgreSQL."""

import sqlite3
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from lossboard_server.store.files.refusals import UnusableDatabase
from lossboard_server.store.statements import cursor_of, fetch, told_by_sqlalchemy

BUSY_TIMEOUT_MS = 5_000  # the service is the file's only writer; a shell tool may hold it for a moment

LOCK_TIMEOUT_S = 5  # what waits longer for a run is told to come back: its other replica hangs
IDLE_TIMEOUT_S = 15  # PostgreSQL then ends the transaction of a replica that hangs, and its locks
MAX_READERS = 40  # as many as FastAPI has threads: the writer must never wait for a connection
WRITERS = 4  # threads that write PostgreSQL, which wait for it most of the time
POOLED = 5
DRIVER = "postgresql+psycopg"
# What libpq is told unless the URL says otherwise: a server that is gone is noticed within some 15 s.
_LIBPQ: dict[str, Any] = {
    "application_name": "lossboard",
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
}
_SCHEMA_LOCK = 0x6C6F7373  # "loss": any number that others don't take

POSTGRES_RECORD_BYTES = 200  # with its index and summaries: measured 191 at 1,000 batches an epoch, 211 at 20

ROWS_A_STATEMENT = 32  # 1.9 µs a record rather than 2.9; 16 columns each, and old SQLite binds 999 values


def open_engine(url: str) -> Engine:
    """Make the engine of a database URL; a SQLite file's folder is made if it is missing.

    Raises: sqlalchemy.exc.ArgumentError for what is no URL, UnusableDatabase for another kind of
    database and where PostgreSQL's driver is not installed.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return _open_postgres(parsed)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = create_engine(parsed, connect_args={"check_same_thread": False, "cached_statements": 256})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def is_shared(url: str) -> bool:
    """Tell whether several services may write this database at once."""
    return make_url(url).get_backend_name() != "sqlite"


def for_reading(engine: Engine) -> Engine:
    """Return the engine whose transactions see one moment of the database, and change nothing."""
    if engine.dialect.name == "sqlite":
        return engine  # one moment is what a transaction of WAL sees
    return engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def for_writing(engine: Engine) -> Engine:
    """Return the engine whose transactions write; a run that is found in one stays locked until it ends."""
    return engine.execution_options(writes=True)


def is_writing(connection: Connection) -> bool:
    """Tell whether a connection is of `for_writing`."""
    return bool(connection.get_execution_options().get("writes", False))


def _open_postgres(url: URL) -> Engine:
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise UnusableDatabase(
            f"Lossboard keeps its records in SQLite or PostgreSQL, and not in {url.get_backend_name()}: "
            f"--database {DRIVER}://user@host/name"
        )
    if url.drivername not in ("postgresql", "postgres", DRIVER):
        raise UnusableDatabase(f"PostgreSQL is reached through psycopg: --database {DRIVER}://user@host/name")
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise UnusableDatabase(
            "PostgreSQL needs the driver psycopg, which is not installed. Install it with:\n"
            '    pip install "lossboard[postgres]"'
        ) from None
    engine = create_engine(
        url.set(drivername=DRIVER),
        pool_pre_ping=True,  # a restart of the server leaves dead connections in the pool
        pool_size=POOLED,
        max_overflow=MAX_READERS + WRITERS - POOLED,
        connect_args={name: value for name, value in _LIBPQ.items() if name not in url.query},
    )
    event.listen(engine, "begin", _begin_postgres)
    return engine


def _begin_postgres(connection: Connection) -> None:
    # In each transaction and not in the session: a pooler between may give it to somebody else.
    if is_writing(connection):
        connection.exec_driver_sql(
            f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'; "
            f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_TIMEOUT_S}s'"
        )


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    # The driver's own BEGIN comes only before the first change, after the reads it
    # must be consistent with; we send it ourselves in _begin_sqlite.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        "synchronous = FULL",  # the client drops what was acknowledged
        "foreign_keys = ON",
        "cache_size = -32768",  # KiB, negative by SQLite's convention
        "journal_size_limit = 67108864",
    ):
        connection.execute(f"PRAGMA {pragma}")
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode not in ("wal", "memory"):
        raise UnusableDatabase(
            "The database's file system has no shared memory for SQLite's WAL, so readers would wait for the "
            "writer. Put the file on another disk with --database."
        )


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes its lock at once: a deferred transaction that upgrades later fails
    # with SQLITE_BUSY without waiting for the timeout.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing(connection) else "BEGIN")


def insert_tuples(connection: Connection, table: str, columns: tuple[str, ...], rows: list[Any]) -> None:
    """Insert plain tuples through the driver: four times as fast as one dictionary a row.

    Raises: sqlalchemy.exc.IntegrityError if a key is taken; the caller's savepoint undoes the rest.
    """
    if connection.dialect.name != "sqlite":
        _copy_tuples(connection, f"COPY {table} ({', '.join(columns)}) FROM STDIN", rows)
        return
    marks = f"({', '.join(['?'] * len(columns))})"
    insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "
    whole = len(rows) - len(rows) % ROWS_A_STATEMENT
    if whole:
        groups = (rows[first : first + ROWS_A_STATEMENT] for first in range(0, whole, ROWS_A_STATEMENT))
        values = [tuple(chain.from_iterable(group)) for group in groups]
        connection.exec_driver_sql(insert + ", ".join([marks] * ROWS_A_STATEMENT), values)
    if whole < len(rows):
        connection.exec_driver_sql(insert + marks, rows[whole:])


def _copy_tuples(connection: Connection, copy: str, rows: list[Any]) -> None:
    # COPY takes 156,000 rows a second where statements of 32 rows, pipelined, take 104,000.
    import psycopg

    cursor = connection.connection.cursor()
    try:
        with cursor.copy(copy) as channel:
            for row in rows:
                channel.write_row(row)
    except psycopg.Error as error:  # as SQLAlchemy tells what its own statements raise
        if connection.connection.driver_connection.closed:  # type: ignore[union-attr]
            connection.invalidate(error)
        kinds = {psycopg.IntegrityError: IntegrityError, psycopg.DataError: DataError}
        kind = next((ours for theirs, ours in kinds.items() if isinstance(error, theirs)), DBAPIError)
        raise kind(copy, None, error) from error
    finally:
        cursor.close()


def put_tuples(
    connection: Connection, table: str, columns: tuple[str, ...], keys: tuple[str, ...], rows: list[Any]
) -> None:
    """Insert plain tuples, or replace what stands under their key; `columns` begin with `keys`."""
    is_sqlite = connection.dialect.name == "sqlite"
    put = _write_put(table, columns, keys, "?" if is_sqlite else "%s")
    if is_sqlite:
        try:
            cursor_of(connection).executemany(put, rows)
        except sqlite3.Error as error:
            raise told_by_sqlalchemy(error, put) from error
    else:
        connection.exec_driver_sql(put, rows)


@cache
def _write_put(table: str, columns: tuple[str, ...], keys: tuple[str, ...], mark: str) -> str:
    marks = ", ".join([mark] * len(columns))
    changes = ", ".join(f"{column} = excluded.{column}" for column in columns[len(keys) :])
    return (
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) "
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changes}"
    )


def select_tuples(
    connection: Connection, table: str, columns: tuple[str, ...], keys: tuple[str, ...], rows: list[Any]
) -> list[Any]:
    """Return `columns` of the rows that stand under these keys, in any order.

    Cost: one look-up a key. SQLite answers a list of keys after IN by reading the whole
    stretch of the table between them; CROSS JOIN holds it to this order.
    """
    is_sqlite = connection.dialect.name == "sqlite"
    query = _write_select(table, columns, keys, len(rows), "?" if is_sqlite else "%s")
    values = tuple(part for row in rows for part in row)
    if is_sqlite:
        return fetch(connection, query, values)
    return list(connection.exec_driver_sql(query, values).all())


@cache
def _write_select(table: str, columns: tuple[str, ...], keys: tuple[str, ...], rows: int, mark: str) -> str:
    values = ", ".join([f"({', '.join([mark] * len(keys))})"] * rows)
    where = " AND ".join(f"t.{key} = k.column{number}" for number, key in enumerate(keys, start=1))
    told = ", ".join(f"t.{column}" for column in columns)
    return f"SELECT {told} FROM (VALUES {values}) AS k CROSS JOIN {table} AS t WHERE {where}"


def count_used_bytes(connection: Connection, records: int) -> int:
    """Return the bytes that so many records, all there are, take with their summaries.

    Of a SQLite file without its free pages and what it has when empty. PostgreSQL tells only sizes
    that don't shrink when rows go, by which retention would delete on and on.
    """
    if connection.dialect.name != "sqlite":
        return records * POSTGRES_RECORD_BYTES
    pages, free, size = (
        int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
        for name in ("page_count", "freelist_count", "page_size")
    )
    roots = connection.exec_driver_sql("SELECT count(*) FROM sqlite_schema WHERE rootpage > 0").scalar_one()
    return max(0, pages - free - int(roots)) * size


def lock_schema(connection: Connection) -> None:
    """Keep other services from bringing the same tables up to date until the transaction ends."""
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql(
            f"SET LOCAL lock_timeout = 0; SELECT pg_advisory_xact_lock({_SCHEMA_LOCK})"
        )


def open_session(engine: Engine) -> Any:
    """Return a connection of PostgreSQL's driver that is no longer the pool's, each statement on its own."""
    pooled = engine.raw_connection()
    connection: Any = pooled.driver_connection
    pooled.detach()
    connection.rollback()  # the pool's ping began a transaction
    connection.autocommit = True
    return connection


def ping(engine: Engine) -> None:
    """Ask the database for an answer; raise what it raises."""
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
