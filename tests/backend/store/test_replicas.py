"""Two services on one PostgreSQL: what both are sent at once is stored once, and neither waits in vain."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Connection, text

from lossboard.wire import Record
from lossboard_server.domain.blocks import as_blocks
from lossboard_server.domain.changes import Change
from lossboard_server.errors import RunNotFound, Unavailable
from lossboard_server.store import database as database_module
from lossboard_server.store.database import insert_tuples
from lossboard_server.store.keeping.deleting import mark_deleted
from lossboard_server.store.store import Store
from lossboard_server.store.tables import RunRow
from lossboard_server.store.writing.deliveries import AttemptStart, Delivery, RunSpec, Sender, SeriesMeaning
from lossboard_server.store.writing.ingest import COLUMNS, store_delivery
from lossboard_server.store.writing.register import find_run
from postgres_server import PostgresServer

pytestmark = pytest.mark.postgres

TIMEOUT_S = 20.0
Work = Callable[[Connection], tuple[Any, list[Change]]]


@pytest.fixture
def pair(postgres_database: str) -> Iterator[tuple[Store, Store]]:
    stores = Store(postgres_database), Store(postgres_database)
    yield stores
    for store in stores:
        store.close()


def delivery(first: int, count: int, writer: str = "w") -> Delivery:
    records = [
        Record("train/loss", 0, batch, 1.0 + batch, 2, time=1e9) for batch in range(first, first + count)
    ]
    return Delivery(as_blocks(records, range(first, first + count)), Sender(writer, first, 1.0, 0))


def ask(store: Store, query: str) -> Any:
    with store.reading() as connection:
        return tuple(connection.execute(text(query)).one())


def test_same_delivery_sent_to_both_at_once_is_stored_once(pair: tuple[Store, Store]) -> None:
    pair[0].put_run("r", RunSpec()).result(TIMEOUT_S)
    for first in range(0, 200, 20):
        receipts = [store.put_records("r", delivery(first, 20)) for store in pair]
        told = [receipt.result(TIMEOUT_S) for receipt in receipts]
        assert sorted(receipt.stored for receipt in told) == [0, 20]
        assert {receipt.next for receipt in told} == {first + 20}
    assert ask(pair[1], "SELECT count(*), max(call) FROM records") == (200, 0)
    assert ask(pair[1], "SELECT records, version FROM runs") == (200, 21)
    assert ask(pair[1], "SELECT seen, last_batch FROM epochs") == (200, 199)
    assert ask(pair[0], "SELECT sum(seen) FROM buckets WHERE width = 16") == (200,)


def test_writers_of_one_run_spread_over_both_lose_nothing(pair: tuple[Store, Store]) -> None:
    pair[0].put_run("r", RunSpec()).result(TIMEOUT_S)

    def send(writer: int) -> None:
        for turn, first in enumerate(range(0, 100, 10)):
            records = [
                Record("train/loss", 0, batch, 1.0, 2, time=1e9, rank=writer)
                for batch in range(first, first + 10)
            ]
            sender = Sender(f"w{writer}", first, 1.0, writer)
            told = Delivery(as_blocks(records, range(first, first + 10)), sender, state="running")
            pair[(writer + turn) % 2].put_records("r", told).result(TIMEOUT_S)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(send, range(6)))
    assert ask(pair[0], "SELECT count(*), count(DISTINCT rank) FROM records") == (600, 6)
    assert ask(pair[0], "SELECT records, version FROM runs") == (600, 61)
    assert ask(pair[0], "SELECT sum(seen), count(*) FROM epochs") == (600, 6)
    assert ask(pair[0], "SELECT sum(seen) FROM buckets WHERE width = 64") == (600,)
    assert ask(pair[0], "SELECT count(*), sum(next) FROM writers") == (6, 600)


def test_run_made_at_both_at_once_is_one_run(pair: tuple[Store, Store]) -> None:
    for number in range(10):
        run = f"r{number}"
        spec = RunSpec(series={"train/loss": SeriesMeaning("mean")}, attempt=AttemptStart(float(number)))
        made = [store.put_run(run, spec).result for store in pair for _ in range(2)]
        told = [result(TIMEOUT_S) for result in made]
        assert [registered.created for registered in told].count(True) == 1
        assert {registered.attempt for registered in told} == {1}
    assert ask(pair[0], "SELECT count(*), max(version) FROM runs") == (10, 4)
    assert ask(pair[0], "SELECT (SELECT count(*) FROM series), (SELECT count(*) FROM attempts)") == (10, 10)


def test_attempts_and_series_that_both_hear_of_first_do_not_collide(pair: tuple[Store, Store]) -> None:
    pair[0].put_run("r", RunSpec()).result(TIMEOUT_S)
    jobs = []
    for number in range(20):
        for store in pair:
            record = Record(f"train/s{number}", 0, 0, 1.0, 2, time=1e9, attempt=float(number))
            jobs.append(store.put_records("r", Delivery(as_blocks([record]))))
    assert sum(job.result(TIMEOUT_S).stored for job in jobs) == 40
    assert ask(pair[0], "SELECT count(*), count(DISTINCT key), max(key) FROM series") == (20, 20, 19)
    assert ask(pair[0], "SELECT count(*), count(DISTINCT key), max(key) FROM attempts") == (20, 20, 19)


def test_record_that_comes_while_its_run_is_deleted_elsewhere_is_not_taken(pair: tuple[Store, Store]) -> None:
    pair[0].put_run("r", RunSpec()).result(TIMEOUT_S)
    gate = threading.Event()
    has_run = threading.Event()

    def remove(connection: Connection) -> tuple[None, list[Change]]:
        key = find_run(connection, "r").key
        row = connection.execute(RunRow.__table__.select().where(RunRow.key == key)).one()
        has_run.set()
        gate.wait(TIMEOUT_S)
        mark_deleted(connection, row, 1e9)
        return None, []

    removal = pair[0].write(remove, "r")
    assert has_run.wait(TIMEOUT_S)
    late = pair[1].put_records("r", delivery(0, 5))
    gate.set()
    removal.result(TIMEOUT_S)
    with pytest.raises(RunNotFound):
        late.result(TIMEOUT_S)
    assert pair[1].put_run("r", RunSpec()).result(TIMEOUT_S).created


def test_work_that_a_deadlock_undid_is_done_anew(pair: tuple[Store, Store]) -> None:
    for run in "ab":
        pair[0].put_run(run, RunSpec()).result(TIMEOUT_S)
    both = threading.Barrier(2)

    def locking(*runs: str) -> Work:
        waits = [True]

        def work(connection: Connection) -> tuple[None, list[Change]]:
            for run in runs:
                key = find_run(connection, run).key
                if waits.pop() if waits else False:
                    both.wait(TIMEOUT_S)
                connection.execute(
                    text("UPDATE runs SET version = version + 1 WHERE key = :key"), {"key": key}
                )
            return None, []

        return work

    jobs = [pair[0].write(locking("a", "b")), pair[1].write(locking("b", "a"))]
    for job in jobs:
        job.result(TIMEOUT_S)
    assert ask(pair[0], "SELECT min(version), max(version) FROM runs") == (3, 3)


def test_work_whose_connection_broke_before_its_commit_is_done_anew(
    pair: tuple[Store, Store], postgres: PostgresServer
) -> None:
    pair[0].put_run("r", RunSpec()).result(TIMEOUT_S)
    tries = []

    def work(connection: Connection) -> tuple[int, list[Change]]:
        tries.append(connection.execute(text("SELECT pg_backend_pid()")).scalar_one())
        connection.execute(text("UPDATE runs SET version = version + 1"))
        if len(tries) == 1:
            with postgres.connect() as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", tries)
        connection.execute(text("UPDATE runs SET version = version + 1"))
        return len(tries), []

    assert pair[0].write(work).result(TIMEOUT_S) == 2
    assert ask(pair[0], "SELECT version FROM runs") == (3,)


def test_records_whose_connection_broke_on_their_way_are_stored_once(
    pair: tuple[Store, Store], postgres: PostgresServer
) -> None:
    pair[0].put_run("r", RunSpec()).result(TIMEOUT_S)
    breaks = [True]

    def breaking(connection: Connection, run: str, now: float) -> tuple[Any, list[Change]]:
        pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        find_run(connection, run)
        if breaks.pop() if breaks else False:
            with postgres.connect() as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
            insert_tuples(connection, "records", COLUMNS, [])
        return store_delivery(connection, run, delivery(0, 20), now)

    assert (
        pair[0].write(lambda connection: breaking(connection, "r", 1e9), "r").result(TIMEOUT_S).stored == 20
    )
    assert ask(pair[1], "SELECT count(*) FROM records") == (20,)


def test_run_that_a_hanging_replica_holds_is_told_to_come_back_and_others_go_on(
    pair: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "LOCK_TIMEOUT_S", 0.3)
    for run in "ab":
        pair[0].put_run(run, RunSpec()).result(TIMEOUT_S)
    gate = threading.Event()
    is_held = threading.Event()

    def hang(connection: Connection) -> tuple[None, list[Change]]:
        find_run(connection, "a")
        is_held.set()
        gate.wait(TIMEOUT_S)
        return None, []

    hanging = pair[0].write(hang, "a")
    assert is_held.wait(TIMEOUT_S)
    jobs: list[Future[Any]] = [pair[1].put_records(run, delivery(0, 5)) for run in "aab"]
    for job in jobs[:2]:
        with pytest.raises(Unavailable) as caught:
            job.result(TIMEOUT_S)
        assert caught.value.headers == {"Retry-After": "1"}
    assert jobs[2].result(TIMEOUT_S).stored == 5
    gate.set()
    hanging.result(TIMEOUT_S)
    assert pair[1].put_records("a", delivery(0, 5)).result(TIMEOUT_S).stored == 5


def test_code_of_a_login_link_works_once_whichever_is_asked(pair: tuple[Store, Store]) -> None:
    for number in range(10):
        code = f"{number:064}"
        pair[0].codes.put_code(code, 2e9)
        with ThreadPoolExecutor(2) as pool:
            taken = list(pool.map(lambda store, code=code: store.codes.take_code(code, 1e9), pair))
        assert sorted(taken) == [False, True]


def test_services_that_start_together_make_the_tables_once(postgres: PostgresServer) -> None:
    url = postgres.create_database("together")
    with ThreadPoolExecutor(3) as pool:
        stores = list(pool.map(Store, [url] * 3))
    assert ask(stores[2], "SELECT count(*) FROM runs") == (0,)
    for store in stores:
        store.close()
    postgres.drop_database("together")
