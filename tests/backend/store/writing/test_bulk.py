"""Whole columns into a table: every value where it belongs, whatever is the same in all rows."""

from typing import Any

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from lossboard_server.store.statements import savepoint
from lossboard_server.store.store import Store
from lossboard_server.store.writing.bulk import MAX_ROWS_A_STATEMENT, Column, insert_columns, zip_columns

NAMES = "run, series, attempt, epoch, pass_no, batch, rank, call, loss, batch_size, weight, step"


def write(store: Store, *many: list[Column]) -> None:
    def work(connection: Connection) -> tuple[None, list[Any]]:
        for columns in many:
            insert_columns(connection, "records", columns)
        return None, []

    store.write(work).result(5)


def read(store: Store) -> list[tuple[Any, ...]]:
    with store.reading() as connection:
        query = f"SELECT {NAMES} FROM records ORDER BY epoch, batch"
        return list(map(tuple, connection.exec_driver_sql(query).all()))


def columns(rows: int, **more: list[Any]) -> list[Column]:
    told: dict[str, Any] = {
        "epoch": [3] * rows,
        "pass_no": 0,
        "batch": list(range(rows)),
        "rank": 1,
        "call": 0,
        "loss": [0.5 * row for row in range(rows)],
        "batch_size": [32] * rows,
        "weight": [32.0] * (rows - 1) + [7.5],
        "step": None,
    }
    told = {"run": 1, "series": 2, "attempt": 5} | told | more
    return [
        Column(name, values=value, is_free=name == "loss") if isinstance(value, list) else Column(name, value)
        for name, value in told.items()
    ]


@pytest.mark.parametrize("rows", [1, 2, 7, 8, 9, 31, MAX_ROWS_A_STATEMENT, MAX_ROWS_A_STATEMENT + 1, 1000])
def test_columns_come_back_as_rows(store: Store, rows: int) -> None:
    write(store, columns(rows))
    assert read(store) == list(zip_columns(columns(rows)))


def test_what_is_the_same_in_some_columns_and_not_in_others_stays_apart(store: Store) -> None:
    some: list[Any] = [None, 4, None, 4, 5, 4, None, 4, 4]
    write(
        store,
        columns(9, batch_size=some, step=[None] * 9),
        columns(9, epoch=[4] * 9, batch_size=[8] * 8 + [None], step=list(range(9)), loss=[None] * 9),
        columns(9, epoch=list(range(5, 14)), batch=[2] * 9, weight=[1.0] * 9),
    )
    found = read(store)
    assert [row[9] for row in found[:9]] == some
    assert [row[9] for row in found[9:18]] == [8] * 8 + [None]
    assert [row[11] for row in found] == [None] * 9 + list(range(9)) + [None] * 9
    assert [row[8] for row in found[9:18]] == [None] * 9
    assert [row[3] for row in found[18:]] == list(range(5, 14))


def test_taken_key_leaves_nothing_of_its_columns(store: Store) -> None:
    write(store, columns(2))
    before = read(store)

    def work(connection: Connection) -> tuple[None, list[Any]]:
        with pytest.raises(IntegrityError), savepoint(connection):
            insert_columns(connection, "records", columns(300, batch=[*range(10, 309), 1]))
        return None, []

    store.write(work).result(5)
    assert read(store) == before
