"""The store on a real file: what SQLite is told, what another process may read, how commits reach viewers."""

import json
import sqlite3
import time
from pathlib import Path

import pytest

from lossboard.wire import Record
from lossboard_server.domain.blocks import as_blocks
from lossboard_server.domain.changes import Change
from lossboard_server.store.store import Store
from lossboard_server.store.writing.deliveries import Delivery, RunSpec, Sender, SeriesMeaning


def record(batch: int, loss: float = 1.0, epoch: int = 0) -> Record:
    return Record("train/loss", epoch, batch, loss, 2, time=1e9)


def test_every_record_is_a_plain_row_that_any_tool_reads(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 's.db'}")
    store.put_run("r", RunSpec()).result(5)
    store.put_records(
        "r", Delivery(as_blocks([record(0, 4.5), record(1, float("nan")), record(2, float("inf"))]))
    ).result(5)
    store.close()
    connection = sqlite3.connect(tmp_path / "s.db")
    rows = connection.execute("SELECT epoch, batch, loss, batch_size FROM records").fetchall()
    connection.close()
    assert rows == [(0, 0, 4.5, 2), (0, 1, None, 2), (0, 2, float("inf"), 2)]


def test_database_waits_for_the_disk_before_it_acknowledges(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 's.db'}")
    with store.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    store.close()


def test_viewers_hear_of_a_change_after_its_commit(database: str) -> None:
    heard: list[Change] = []
    store = Store(database, heard.extend)
    store.put_run("r", RunSpec()).result(5)
    store.put_records("r", Delivery(as_blocks([record(0)]))).result(5)
    assert [(change.run, change.series, change.is_about_run) for change in heard] == [
        ("r", set(), True),
        ("r", {"train/loss"}, False),
    ]
    assert heard[0].version < heard[1].version
    store.close()


def test_readers_see_one_moment_while_records_come_in(database: str) -> None:
    store = Store(database)
    store.put_run("r", RunSpec()).result(5)
    with store.reading() as connection:
        count = "SELECT count(*) FROM records"
        assert connection.exec_driver_sql(count).scalar() == 0
        store.put_records("r", Delivery(as_blocks([record(0)]))).result(5)
        assert connection.exec_driver_sql(count).scalar() == 0
    with store.reading() as connection:
        assert connection.exec_driver_sql(count).scalar() == 1
    store.close()


def test_code_of_a_login_link_works_once_and_in_time(database: str) -> None:
    store = Store(database)
    now = time.time()
    store.codes.put_code("a" * 64, now + 60)
    store.codes.put_code("b" * 64, now + 1)
    assert store.codes.take_code("a" * 64, now)
    assert not store.codes.take_code("a" * 64, now)
    assert not store.codes.take_code("b" * 64, now + 2)
    assert not store.codes.take_code("c" * 64, now)
    store.close()


@pytest.mark.parametrize("times", [1, 3])
def test_summaries_of_many_deliveries_equal_one(database: str, times: int) -> None:
    store = Store(database)
    store.put_run("r", RunSpec()).result(5)
    records = [record(batch, 0.1 * batch) for batch in range(30)]
    size = 30 // times
    for first in range(0, 30, size):
        part = records[first : first + size]
        sender = Sender("w", first, 1.0, 0)
        store.put_records("r", Delivery(as_blocks(part, range(first, first + size)), sender)).result(5)
    with store.reading() as connection:
        row = connection.exec_driver_sql("SELECT seen, m, m_low, low, high, last_batch FROM epochs").one()
    store.close()
    assert tuple(row) == (
        30,
        pytest.approx(43.5, rel=1e-15),
        pytest.approx(0, abs=1e-14),
        0.0,
        pytest.approx(2.9),
        29,
    )


def test_first_and_last_step_of_an_epoch_hold_whatever_the_order_of_arrival(database: str) -> None:
    store = Store(database)
    store.put_run("r", RunSpec()).result(5)
    for batches in (range(40, 60), range(20), range(20, 40)):
        records = [record(batch)._replace(step=100 + batch // 4) for batch in batches]
        store.put_records("r", Delivery(as_blocks(records))).result(5)
    store.put_records("r", Delivery(as_blocks([record(99)]))).result(5)  # tells no step
    with store.reading() as connection:
        steps = "SELECT first_step, last_step FROM"
        assert connection.exec_driver_sql(f"{steps} epochs").one() == (100, 114)
        third = connection.exec_driver_sql(f"{steps} buckets WHERE width = 16 AND number = 2").one()
        assert third == (108, 111)
        last = connection.exec_driver_sql(f"{steps} buckets WHERE width = 16 AND number = 6").one()
        assert last == (None, None)
    store.close()


def test_traits_of_a_series_are_kept_as_json_that_any_tool_reads(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 's.db'}")
    told = {"train/loss": SeriesMeaning(traits={"dtype": "bfloat16", "parts": {"train/box": 7.5}})}
    store.put_run("r", RunSpec(series=told)).result(5)
    changed = {"train/loss": SeriesMeaning(traits={"dtype": None, "dataset_items": 20})}
    store.put_run("r", RunSpec(series=changed)).result(5)
    store.put_records("r", Delivery(as_blocks([record(0)]))).result(5)  # says nothing of them
    store.close()
    connection = sqlite3.connect(tmp_path / "s.db")
    (traits,) = connection.execute("SELECT traits FROM series").fetchone()
    connection.close()
    assert json.loads(traits) == {"parts": {"train/box": 7.5}, "dataset_items": 20}
