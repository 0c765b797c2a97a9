"""The keeper: rows of deleted runs go in chunks, after a restart too; retention removes what is due."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import func, select

from lossboard_server.domain.blocks import Block
from lossboard_server.domain.retention import DAY_S, Retention
from lossboard_server.store.keeping import deleting
from lossboard_server.store.keeping.deleting import delete_run, delete_some, find_deleted, list_going
from lossboard_server.store.keeping.editing import edit_run
from lossboard_server.store.keeping.keeper import Keeper
from lossboard_server.store.listing import RunFilter, list_runs
from lossboard_server.store.store import Store
from lossboard_server.store.tables import Base, RunKeyRow
from lossboard_server.store.writing.deliveries import Delivery, RunSpec, Sender
from processes import poll

ROWS = 45


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Delete ten rows a job."""
    monkeypatch.setattr(deleting, "ROWS_A_JOB", 10)


@pytest.fixture
def keep(store: Store) -> Iterator[Any]:
    """Make keepers that end with the test."""
    keepers: list[Keeper] = []

    def make(rule: Retention | None = None) -> Keeper:
        keepers.append(Keeper(store, rule))
        return keepers[-1]

    yield make
    for keeper in keepers:
        keeper.close()


def fill(store: Store, run: str, *, state: str = "finished", time: float = 1e9, rows: int = ROWS) -> None:
    """Store some records of a run."""
    whole = range(rows)
    block = Block(
        *("train/loss", 1.0, 0, "mean", [at // 40 for at in whole], [at % 40 for at in whole], [1.0] * rows),
        *([2] * rows, None, None, None, None, [time] * rows, None, None, list(whole)),
    )
    store.put_run(run, RunSpec()).result(5)
    store.put_records(run, Delivery([block], Sender("w", 0, 1.0, 0, sent=store.clock()), state=state)).result(
        5
    )


def delete(store: Store, run: str) -> None:
    """Archive and delete a run."""
    store.write(lambda connection: edit_run(connection, run, {"archived": True}, store.clock())).result(5)
    store.write(lambda connection: delete_run(connection, run, store.clock())).result(5)


def count_rows(store: Store) -> dict[str, int]:
    """Count the rows of every table that hang on runs."""
    with store.reading() as connection:
        return {
            name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for name, table in Base.metadata.tables.items()
            if "run" in table.c or name in ("runs", "run_keys")
        }


def test_rows_go_in_chunks_that_tell_what_is_left(store):
    fill(store, "gone")
    delete(store, "gone")
    left = []
    with store.reading() as connection:
        key = find_deleted(connection)
    while not store.write(lambda connection: delete_some(connection, key)).result(5):
        with store.reading() as connection:
            left.append(list_going(connection)[0].records)
    assert left[:5] == [35, 25, 15, 5, 0]
    with store.reading() as connection:
        assert find_deleted(connection) is None


def test_nothing_of_a_deleted_run_is_left_and_its_key_is_not_used_again(store, keep):
    before = count_rows(store)
    fill(store, "gone")
    delete(store, "gone")
    with store.reading() as connection:
        key = find_deleted(connection)
    keep().start()
    poll(lambda: count_rows(store) == before, "the last row")
    store.put_run("gone", RunSpec()).result(5)
    with store.reading() as connection:
        assert connection.execute(select(func.max(RunKeyRow.key))).scalar_one() > key


def test_what_an_earlier_process_left_goes_after_a_start(database):
    store = Store(database)
    fill(store, "gone")
    fill(store, "stays")
    delete(store, "gone")
    with store.reading() as connection:
        key = find_deleted(connection)
    for _ in range(3):
        store.write(lambda connection: delete_some(connection, key)).result(5)
    store.close()
    store = Store(database)
    keeper = Keeper(store)
    keeper.start()
    poll(lambda: count_rows(store)["records"] == ROWS, "the rows of the deleted run")
    keeper.close()
    store.close()


def test_records_are_taken_while_a_run_is_deleted(store, keep):
    fill(store, "gone", rows=400)
    delete(store, "gone")
    keep().start()
    for run in ("a", "b", "c"):
        fill(store, run)
    poll(lambda: count_rows(store)["records"] == 3 * ROWS, "the rows of the deleted run")


def test_retention_removes_what_is_due_and_says_so(store, keep, caplog):
    now = store.clock()
    fill(store, "old", time=now - 40 * DAY_S)
    fill(store, "new", time=now - 2 * DAY_S)
    fill(store, "runs", time=now - 40 * DAY_S, state="running")
    keeper = keep(Retention(days=30))
    with caplog.at_level(logging.WARNING, "lossboard_server"):
        keeper.start()
        poll(lambda: count_rows(store)["records"] == 2 * ROWS, "the end of the old run")
    assert keeper.removed == {"age": 1}
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == "retention deletes run old ('old', 45 records): its last record is older than 30 days"
    with store.reading() as connection:
        runs, _ = list_runs(connection, RunFilter(archived="with"), now)
        planned = keeper.plan(connection)
    assert sorted(run["run"] for run in runs) == ["new", "r", "runs"]
    assert [each.kept.run for each in planned] == ["new"], "r still lives"


def test_retention_by_size_stops_when_the_rest_fits(store, keep):
    now = store.clock()
    for age, run in ((9, "a"), (8, "b"), (7, "c")):
        fill(store, run, time=now - age * DAY_S, rows=2_000)
    with store.reading() as connection:
        used = deleting.measure_room(connection).bytes
    keeper = keep(Retention(bytes=used * 0.9))
    keeper.start()
    poll(lambda: keeper.removed == {"size": 1}, "the removal")
    with store.reading() as connection:
        runs, _ = list_runs(connection, RunFilter(), now)
    assert sorted(run["run"] for run in runs) == ["b", "c", "r"]


def test_deleting_makes_the_store_smaller_for_retention(store, keep):
    for run in ("a", "b"):
        fill(store, run, rows=2_000)
    with store.reading() as connection:
        before = deleting.measure_room(connection)
    delete(store, "a")
    keep().start()
    poll(lambda: count_rows(store)["records"] == 2_000, "the rows of the deleted run")
    with store.reading() as connection:
        after = deleting.measure_room(connection)
    assert after.bytes < 0.7 * before.bytes, "or retention by size would go on deleting"
