"""Statements that run with every request, on SQLite without what SQLAlchemy does around each of them.

Of the 1.2 ms that storing ten records took, 0.9 were spent there: 45 µs a statement, where the
driver takes 4. PostgreSQL goes the usual way, by which its errors and lost connections are told.
"""

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Executable
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import ClauseElement, Select

_SQLITE = sqlite.dialect()

Convert = Callable[[Any], Any]


class Statement:
    """A SELECT, INSERT or UPDATE with named values, made into text once.

    Values that SQLAlchemy would convert, such as JSON, are converted as it would.
    """

    def __init__(self, statement: Executable) -> None:
        assert isinstance(statement, ClauseElement)
        self._statement: Any = statement
        compiled: Any = statement.compile(dialect=_SQLITE)
        self._text = str(compiled)
        self._names: list[str] = list(compiled.positiontup)
        self._defaults = dict(compiled.params)
        self._binds = _converters(
            {name: compiled.binds[name].type for name in self._names},
            lambda kind: kind.bind_processor(_SQLITE),
        )
        columns: list[Any] = list(statement.selected_columns) if isinstance(statement, Select) else []
        row: Any = namedtuple("Row", [column.key for column in columns])  # type: ignore[misc]
        self._row = row._make
        kinds = {column.key: column.type for column in columns}
        self._results = [
            (list(kinds).index(key), convert)
            for key, convert in _converters(kinds, lambda kind: kind.result_processor(_SQLITE, None)).items()
        ]

    def run(self, connection: Connection, values: Mapping[str, Any]) -> list[Any]:
        """Run it in the connection's transaction; return its rows, whose columns are attributes."""
        if connection.dialect.name != "sqlite":
            result = connection.execute(self._statement, values)
            return list(result.all()) if result.returns_rows else []
        rows = self._fetch(connection, values)
        return [self._make(row) for row in rows] if rows else rows

    def tuples(self, connection: Connection, values: Mapping[str, Any]) -> list[Any]:
        """Return its rows as the driver's plain tuples, for columns that need no conversion.

        Cost: a third less than rows of SQLAlchemy, where there are thousands.
        """
        if connection.dialect.name != "sqlite":
            result = connection.execute(self._statement, values)
            assert result.cursor is not None
            return list(result.cursor.fetchall())
        return self._fetch(connection, values)

    def _fetch(self, connection: Connection, values: Mapping[str, Any]) -> list[Any]:
        told = {**self._defaults, **values}
        for name, convert in self._binds.items():
            told[name] = convert(told[name])
        return fetch(connection, self._text, [told[name] for name in self._names])

    def _make(self, row: Any) -> Any:
        if self._results:
            row = list(row)
            for place, convert in self._results:
                row[place] = convert(row[place])
        return self._row(row)


def cursor_of(connection: Connection) -> sqlite3.Cursor:
    """Return a cursor of SQLite's driver in the connection's transaction, which must have begun."""
    driver: Any = connection.connection.driver_connection
    cursor: sqlite3.Cursor = driver.cursor()
    return cursor


def fetch(connection: Connection, text: str, values: Sequence[Any] = ()) -> list[Any]:
    """Run a text on SQLite and return its rows as plain tuples.

    Raises: sqlalchemy.exc.DBAPIError, as SQLAlchemy's own statements do.
    """
    try:
        return cursor_of(connection).execute(text, values).fetchall()
    except sqlite3.Error as error:
        raise told_by_sqlalchemy(error, text) from error


def told_by_sqlalchemy(error: sqlite3.Error, text: str) -> DBAPIError:
    """Return the driver's error as SQLAlchemy would raise it, without the values."""
    told: Any = DBAPIError.instance(text, None, error, sqlite3.Error)
    return told  # type: ignore[no-any-return]


@contextmanager
def savepoint(connection: Connection) -> Iterator[None]:
    """Undo only what is done inside where that raises."""
    if connection.dialect.name != "sqlite":
        with connection.begin_nested():
            yield
        return
    fetch(connection, "SAVEPOINT part")  # names may repeat: the innermost is meant
    try:
        yield
    except BaseException:
        # A full disk may have undone the whole transaction already, and no savepoint is left.
        if connection.connection.driver_connection.in_transaction:  # type: ignore[union-attr]
            fetch(connection, "ROLLBACK TO part")
            fetch(connection, "RELEASE part")
        raise
    fetch(connection, "RELEASE part")


def _converters(kinds: Mapping[str, Any], find: Callable[[Any], Convert | None]) -> dict[str, Convert]:
    found = {name: find(kind.dialect_impl(_SQLITE)) for name, kind in kinds.items()}
    return {name: convert for name, convert in found.items() if convert is not None}
