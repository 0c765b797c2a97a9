"""The engine, and all that differs between SQLite and PostgreSQL."""

import sqlite3
from itertools import chain
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text

from lossboard_server.errors import LossboardError, StorageFull

BUSY_TIMEOUT_MS = 5_000  # the service is the file's only writer; a shell tool may hold it for a moment

ROWS_A_STATEMENT = 32  # 1.9 µs a record rather than 2.9; 16 columns each, and old SQLite binds 999 values


def open_engine(url: str) -> Engine:
    """Make the engine of a database URL; a SQLite file's folder is made if it is missing.

    Raises: sqlalchemy.exc.ArgumentError for what is no URL.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = create_engine(parsed, connect_args={"check_same_thread": False})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _: object) -> None:
    # The driver's own BEGIN comes only before the first change, after the reads it
    # must be consistent with; we send it ourselves in _begin_sqlite.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        "journal_mode = WAL",
        "synchronous = FULL",  # the client drops what was acknowledged
        "foreign_keys = ON",
        "cache_size = -32768",  # KiB, negative by SQLite's convention
        "journal_size_limit = 67108864",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A writer takes its lock at once: a deferred transaction that upgrades later fails
    # with SQLITE_BUSY without waiting for the timeout.
    immediate = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def insert_tuples(connection: Connection, table: str, columns: tuple[str, ...], rows: list[Any]) -> None:
    """Insert plain tuples through the driver: four times as fast as one dictionary a row.

    Raises: sqlalchemy.exc.IntegrityError if a key is taken; the caller's savepoint undoes the rest.
    """
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    marks = f"({', '.join([mark] * len(columns))})"
    insert = f"INSERT INTO {table} ({', '.join(columns)}) VALUES "
    whole = len(rows) - len(rows) % ROWS_A_STATEMENT
    if whole:
        groups = (rows[first : first + ROWS_A_STATEMENT] for first in range(0, whole, ROWS_A_STATEMENT))
        values = [tuple(chain.from_iterable(group)) for group in groups]
        connection.exec_driver_sql(insert + ", ".join([marks] * ROWS_A_STATEMENT), values)
    if whole < len(rows):
        connection.exec_driver_sql(insert + marks, rows[whole:])


def put_tuples(
    connection: Connection, table: str, columns: tuple[str, ...], keys: tuple[str, ...], rows: list[Any]
) -> None:
    """Insert plain tuples, or replace what stands under their key; `columns` begin with `keys`."""
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    marks = ", ".join([mark] * len(columns))
    changes = ", ".join(f"{column} = excluded.{column}" for column in columns[len(keys) :])
    connection.exec_driver_sql(
        f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) "
        f"ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {changes}",
        rows,
    )


def select_tuples(
    connection: Connection, table: str, columns: tuple[str, ...], keys: tuple[str, ...], rows: list[Any]
) -> list[Any]:
    """Return `columns` of the rows that stand under these keys, in any order.

    Cost: one look-up a key. SQLite answers a list of keys after IN by reading the whole
    stretch of the table between them; CROSS JOIN holds it to this order.
    """
    mark = "?" if connection.dialect.name == "sqlite" else "%s"
    values = ", ".join([f"({', '.join([mark] * len(keys))})"] * len(rows))
    where = " AND ".join(f"t.{key} = k.column{number}" for number, key in enumerate(keys, start=1))
    told = ", ".join(f"t.{column}" for column in columns)
    query = f"SELECT {told} FROM (VALUES {values}) AS k CROSS JOIN {table} AS t WHERE {where}"
    found = connection.exec_driver_sql(query, tuple(part for row in rows for part in row))
    return list(found.all())


def is_full(error: BaseException) -> bool:
    """Tell whether a database error says that the disk is full."""
    said = str(getattr(error, "orig", error)).lower()
    return "disk is full" in said or "no space left" in said or "could not extend file" in said


def as_public(error: BaseException) -> BaseException:
    """Turn a database error that a caller can act on into one of ours; leave the rest."""
    if isinstance(error, LossboardError) or not is_full(error):
        return error
    return StorageFull("The service's disk is full. Nothing was stored; make room and send it again.")


def ping(engine: Engine) -> None:
    """Ask the database for an answer; raise what it raises."""
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
