"""The one writer: answers after the commit, a failing job undoes only itself."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait

import pytest
from sqlalchemy import Connection, Engine, text

from lossboard_server.domain.changes import Change
from lossboard_server.errors import Busy, Unavailable
from lossboard_server.store.database import open_engine
from lossboard_server.store.writing.writer import MAX_QUEUED, Writer


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    engine = open_engine(database)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE numbers (n INTEGER PRIMARY KEY)"))
    yield engine
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE numbers"))
    engine.dispose()


def inserting(number: int) -> Callable[[Connection], tuple[int, list[Change]]]:
    def work(connection: Connection) -> tuple[int, list[Change]]:
        connection.execute(text("INSERT INTO numbers VALUES (:n)"), {"n": number})
        return number, [Change(str(number))]

    return work


def stored(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        return [row.n for row in connection.execute(text("SELECT n FROM numbers ORDER BY n"))]


def test_answer_comes_after_the_commit(engine: Engine) -> None:
    writer = Writer(engine, lambda _: None)
    assert writer.submit(inserting(7)).result(5) == 7
    assert stored(engine) == [7]
    writer.close()


def test_failing_job_undoes_only_itself(engine: Engine) -> None:
    told: list[str] = []
    writer = Writer(engine, lambda changes: told.extend(change.run for change in changes))
    gate = threading.Event()

    def waiting(connection: Connection) -> tuple[None, list[Change]]:
        gate.wait(5)
        return None, []

    first = writer.submit(waiting)  # so that the next three are committed as one group
    jobs: list[Future[int]] = [writer.submit(inserting(number)) for number in (1, 1, 2)]
    gate.set()
    wait([first, *jobs], 5)
    writer.close()
    assert [job.exception() is None for job in jobs] == [True, False, True]
    assert stored(engine) == [1, 2]
    assert told == ["1", "2"]


def test_full_queue_is_busy_and_says_when_to_come_back(engine: Engine) -> None:
    writer = Writer(engine, lambda _: None)
    gate = threading.Event()

    def waiting(connection: Connection) -> tuple[None, list[Change]]:
        gate.wait(5)
        return None, []

    writer.submit(waiting)
    with pytest.raises(Busy) as caught:  # noqa: PT012 (which submit finds it full depends on the thread)
        for number in range(2 * MAX_QUEUED):
            writer.submit(inserting(number))
    assert caught.value.headers == {"Retry-After": "1"}
    gate.set()
    writer.close()


def test_close_writes_what_is_queued_and_then_takes_nothing(engine: Engine) -> None:
    writer = Writer(engine, lambda _: None)
    jobs = [writer.submit(inserting(number)) for number in range(100)]
    writer.close()
    assert [job.result(0) for job in jobs] == list(range(100))
    assert stored(engine) == list(range(100))
    with pytest.raises(Unavailable):
        writer.submit(inserting(1))


def test_caller_that_went_away_does_not_stop_the_writer(engine: Engine) -> None:
    writer = Writer(engine, lambda _: None)
    gate = threading.Event()

    def waiting(connection: Connection) -> tuple[None, list[Change]]:
        gate.wait(5)
        return None, []

    writer.submit(waiting)
    gone = writer.submit(inserting(1))
    assert gone.cancel()
    gate.set()
    assert writer.submit(inserting(2)).result(5) == 2
    writer.close()
    assert stored(engine) == [2]


def test_jobs_of_one_run_stay_in_their_order_beside_those_of_others(engine: Engine) -> None:
    writer = Writer(engine, lambda _: None, threads=4 if engine.dialect.name == "postgresql" else 1)
    done: dict[str, list[int]] = {run: [] for run in "abcdef"}

    def noting(run: str, number: int) -> Callable[[Connection], tuple[None, list[Change]]]:
        def work(connection: Connection) -> tuple[None, list[Change]]:
            done[run].append(number)
            return None, []

        return work

    jobs = [writer.submit(noting(run, number), run) for number in range(30) for run in done]
    wait(jobs, 10)
    assert writer.close()
    assert all(numbers == list(range(30)) for numbers in done.values())
