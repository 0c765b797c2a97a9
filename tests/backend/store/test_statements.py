"""Statements without SQLAlchemy around them: they return what SQLAlchemy would, and undo what it would."""

from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.exc import IntegrityError

from lossboard_server.store.statements import Statement, savepoint
from lossboard_server.store.store import Store
from lossboard_server.store.tables import AttemptRow, RunRow, SeriesRow
from lossboard_server.store.writing.deliveries import AttemptStart, RunSpec, SeriesMeaning


def write(store: Store, work: Any) -> Any:
    return store.write(lambda connection: (work(connection), [])).result(5)


def name_of(store: Store) -> str:
    with store.reading() as connection:
        return str(connection.exec_driver_sql("SELECT name FROM runs").scalar_one())


RENAME = Statement(update(RunRow).where(RunRow.key == bindparam("of_run")).values(name=bindparam("named")))


@pytest.mark.parametrize("table", [RunRow, SeriesRow, AttemptRow])
def test_rows_are_what_sqlalchemy_makes_of_them(store: Store, table: Any) -> None:
    meaning = SeriesMeaning(traits={"dtype": "bfloat16"})
    spec = RunSpec(
        series={"train/loss": meaning}, attempt=AttemptStart(1.5), tags=["a", "b"], config={"lr": 0.1}
    )
    store.put_run("r", spec).result(5)
    query = select(table.__table__)
    with store.reading() as connection:
        (found,) = Statement(query).run(connection, {})
        wanted = connection.execute(query).one()
    assert tuple(found) == tuple(wanted)
    assert [type(value) for value in found] == [type(value) for value in wanted]
    assert found._fields == tuple(wanted._fields)


def test_no_row_is_an_empty_list(store: Store) -> None:
    with store.reading() as connection:
        assert (
            Statement(select(RunRow.key).where(RunRow.key == bindparam("key"))).run(connection, {"key": 9})
            == []
        )


def test_json_is_bound_as_sqlalchemy_would(store: Store) -> None:
    change = Statement(update(RunRow).values(tags=bindparam("tags"), version=RunRow.version + 1))
    write(store, lambda connection: change.run(connection, {"tags": ["x", "ü"]}))
    with store.reading() as connection:
        assert tuple(connection.execute(select(RunRow.tags, RunRow.version)).one()) == (["x", "ü"], 2)


def test_savepoint_undoes_what_is_inside_and_nothing_else(store: Store) -> None:
    def work(connection: Connection) -> None:
        RENAME.run(connection, {"of_run": 1, "named": "kept"})
        with suppress(ValueError), savepoint(connection):
            RENAME.run(connection, {"of_run": 1, "named": "undone"})
            with savepoint(connection):
                RENAME.run(connection, {"of_run": 1, "named": "undone too"})
            raise ValueError("on purpose")

    write(store, work)
    assert name_of(store) == "kept"


def test_inner_savepoint_leaves_the_outer_ones_work(store: Store) -> None:
    def work(connection: Connection) -> None:
        with savepoint(connection):
            RENAME.run(connection, {"of_run": 1, "named": "kept"})
            with suppress(ValueError), savepoint(connection):
                RENAME.run(connection, {"of_run": 1, "named": "undone"})
                raise ValueError("on purpose")

    write(store, work)
    assert name_of(store) == "kept"


def test_errors_are_sqlalchemys(store: Store) -> None:
    def work(connection: Connection) -> None:
        with pytest.raises(IntegrityError, match=r"(?i)null"), savepoint(connection):
            RENAME.run(connection, {"of_run": 1, "named": None})

    write(store, work)
