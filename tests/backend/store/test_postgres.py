"""What is PostgreSQL's own: its tables and parts, what a reader sees, and what a start without it says."""

import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event, text

from lossboard.wire import Record
from lossboard_server.domain.blocks import as_blocks
from lossboard_server.errors import Unavailable
from lossboard_server.store.database import open_engine
from lossboard_server.store.files.refusals import UnusableDatabase
from lossboard_server.store.reading.rows import read_extremes, read_lines, read_part
from lossboard_server.store.reading.series import read_series
from lossboard_server.store.store import Store
from lossboard_server.store.tables import Base
from lossboard_server.store.writing.deliveries import Delivery, RunSpec, Sender
from postgres_server import PostgresServer, running_postgres

TIMEOUT_S = 20.0


@pytest.fixture
def store(postgres_database: str) -> Iterator[Store]:
    store = Store(postgres_database)
    yield store
    store.close()


def send(store: Store, run: str, count: int, first: int = 0) -> None:
    losses = {b: 1.0 if b % 7 else float("nan") for b in range(first, first + count)}
    records = [Record("train/loss", 0, b, loss, 2, attempt=1.0) for b, loss in losses.items()]
    told = Delivery(as_blocks(records, range(first, first + count)), Sender("w", first, 1.0, 0))
    store.put_records(run, told).result(TIMEOUT_S)


@pytest.mark.postgres
def test_migrations_make_the_tables_of_the_models_there_too(store: Store) -> None:
    def is_ours(thing: Any, name: str | None, kind: str, *_: object) -> bool:
        return not (kind == "table" and re.fullmatch(r"records_\d\d", name or ""))

    with store.reading() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": is_ours})
        differences = compare_metadata(context, Base.metadata)
    # The one tie that PostgreSQL goes without: tables/base.py says why.
    assert [(kind, tie.name) for kind, tie in differences] == [("add_fk", "fk_records_run_runs")]


@pytest.mark.postgres
def test_records_lie_in_sixteen_parts_by_run(store: Store) -> None:
    for number in range(40):
        store.put_run(f"r{number}", RunSpec()).result(TIMEOUT_S)
        send(store, f"r{number}", 3)
    with store.reading() as connection:
        parts = connection.execute(text("SELECT tableoid::regclass, run FROM records")).all()
        count = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'records'::regclass"
        assert connection.execute(text(count)).scalar() == 16
    assert len({part for part, _ in parts}) > 8
    assert len(set(parts)) == 40, "no run lies in two"


@pytest.mark.postgres
def test_reading_a_run_touches_one_part_of_the_records(store: Store) -> None:
    store.put_run("r", RunSpec()).result(TIMEOUT_S)
    send(store, "r", 200)
    asked: list[tuple[str, Any]] = []
    with store.reading() as connection:
        (series,) = read_series(connection, 1)
        event.listen(connection, "before_cursor_execute", lambda *a: asked.append((a[2], a[3])))
        assert len(list(read_lines(connection, series, 0, 3))) == 200
        assert len(list(read_part(connection, series, 0, 0, 0, range(5, 9)))) == 4
        assert read_extremes(connection, series, {(0, 0)})
        queries = [query for query in asked if "FROM records" in query[0]]
        plans = [
            connection.exec_driver_sql(f"EXPLAIN {query}", values).scalars().all()
            for query, values in queries
        ]
    assert len(plans) == 3
    for plan in plans:
        assert len(set(re.findall(r"on (records_\d\d)", "\n".join(plan)))) == 1, plan


@pytest.mark.postgres
def test_reader_sees_one_moment_and_changes_nothing(store: Store) -> None:
    store.put_run("r", RunSpec()).result(TIMEOUT_S)
    with store.reading() as connection:
        count = text("SELECT count(*) FROM records")
        assert connection.execute(count).scalar() == 0
        send(store, "r", 5)
        assert connection.execute(count).scalar() == 0
    with pytest.raises(Unavailable), store.reading() as connection:
        connection.execute(text("DELETE FROM records"))
    with store.reading() as connection:
        assert connection.execute(count).scalar() == 5


@pytest.mark.postgres
def test_driver_s_plain_name_is_taken_for_psycopg(postgres_database: str) -> None:
    store = Store(postgres_database.replace("postgresql+psycopg", "postgresql"))
    assert store.engine.dialect.driver == "psycopg"
    store.close()


@pytest.mark.postgres
def test_database_of_a_later_release_is_refused(store: Store, postgres_database: str) -> None:
    with store.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    try:
        with pytest.raises(UnusableDatabase, match="Upgrade Lossboard"):
            Store(postgres_database)
    finally:
        with store.engine.begin() as connection:
            from lossboard_server.store.migrating import HEAD

            connection.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": HEAD})


def test_missing_driver_is_told_with_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UnusableDatabase, match=r'pip install "lossboard\[postgres\]"'):
        open_engine("postgresql+psycopg://me@127.0.0.1/lossboard")


@pytest.mark.parametrize("url", ["mysql://me@host/name", "postgresql+psycopg2://me@host/name", "oracle://x"])
def test_other_databases_and_drivers_are_refused_with_what_to_give_instead(url: str) -> None:
    with pytest.raises(UnusableDatabase, match=r"--database postgresql\+psycopg://"):
        open_engine(url)


@pytest.mark.soak
@pytest.mark.postgres
def test_store_whose_server_is_gone_says_so_and_goes_on_when_it_is_back() -> None:
    with running_postgres() as server:
        check_restart(server)


def check_restart(server: PostgresServer) -> None:
    store = Store(server.create_database("gone"))
    store.put_run("r", RunSpec()).result(TIMEOUT_S)
    for number in range(5):
        server.stop()
        with pytest.raises(Unavailable):
            store.put_run("r", RunSpec()).result(TIMEOUT_S)
        with pytest.raises(Unavailable), store.reading():
            pass
        server.start()
        send(store, "r", 10, 10 * number)
    store.close()
