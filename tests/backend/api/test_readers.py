"""Reader processes: asked, broken, killed and ended, by a store of this process."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import drawings
from lossboard_server.api import readers as readers_module
from lossboard_server.api.readers import Readers
from lossboard_server.errors import FieldError, InvalidInput, StorageDamaged, Unavailable
from lossboard_server.store.store import Store
from lossboard_server.store.writing.deliveries import RunSpec

START_TIMEOUT_S = 20.0
LONG_S = 30.0  # much longer than any of these tests waits

Test = Callable[[Readers], Awaitable[None]]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("PYTHONPATH", str(Path(drawings.__file__).parent))
    store = Store(f"sqlite:///{tmp_path / 'lossboard.db'}")
    yield store
    store.close()


@pytest.fixture
def drive(store: Store, tmp_path: Path) -> Callable[..., None]:
    """Run a test with readers of so many processes, all of which end with it."""

    def drive(test: Test, count: int = 1, url: str = "") -> None:
        url = url or f"sqlite:///{tmp_path / 'lossboard.db'}"

        async def run() -> None:
            readers = Readers(store.reader, url, count)
            try:
                async with asyncio.timeout(60):
                    await test(readers)
            finally:
                processes = readers.processes
                await readers.close()
                assert not any(map(is_alive, processes))

        asyncio.run(run())

    return drive


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def have_processes(readers: Readers, count: int = 1) -> list[int]:
    """Ask once, as nothing starts before, and wait for the processes."""
    await readers.ask(drawings.tell_process)
    async with asyncio.timeout(START_TIMEOUT_S):
        while len(readers.processes) < count:
            await asyncio.sleep(0.01)
    return readers.processes


def test_first_answer_does_not_wait_and_later_ones_come_from_elsewhere(drive: Callable[..., None]) -> None:
    async def test(readers: Readers) -> None:
        assert not readers.processes
        assert await readers.ask(drawings.tell_process) == os.getpid()
        (process,) = await have_processes(readers)
        assert await readers.ask(drawings.tell_process) == process != os.getpid()

    drive(test)


def test_without_processes_the_service_draws(drive: Callable[..., None]) -> None:
    async def test(readers: Readers) -> None:
        for _ in range(3):
            assert await readers.ask(drawings.tell_process) == os.getpid()
            await asyncio.sleep(0.05)
        assert not readers.processes

    drive(test, count=0)


@pytest.mark.parametrize(
    "value", [None, b"x" * 5_000_000, {"a": [1.5, None]}], ids=["none", "5 MB", "columns"]
)
def test_answers_come_whole_whatever_a_process_prints(drive: Callable[..., None], value: Any) -> None:
    async def test(readers: Readers) -> None:
        await have_processes(readers)
        assert await readers.ask(drawings.echo, value) == value
        assert await readers.ask(drawings.echo, 2) == 2

    drive(test)


def test_process_sees_each_commit_at_once(drive: Callable[..., None], store: Store) -> None:
    async def test(readers: Readers) -> None:
        await have_processes(readers)
        for number in range(20):
            await asyncio.wrap_future(store.put_run(f"r{number}", RunSpec()))
            assert await readers.ask(drawings.count_runs) == number + 1

    drive(test)


def test_long_answer_does_not_keep_the_others(drive: Callable[..., None], tmp_path: Path) -> None:
    async def test(readers: Readers) -> None:
        first = await have_processes(readers, 2)
        long = asyncio.create_task(readers.ask(drawings.draw_slowly, tmp_path / "began", LONG_S))
        while not (tmp_path / "began").exists():
            await asyncio.sleep(0.01)
        others = {await readers.ask(drawings.tell_process) for _ in range(5)}
        assert len(others) == 1
        assert others < set(first)
        assert not long.done()
        long.cancel()  # ends its process: the next caller must not get this answer
        with pytest.raises(asyncio.CancelledError):
            await long
        assert readers.processes == list(others)
        second = await have_processes(readers, 2)
        assert len(set(first) | set(second)) == 3

    drive(test, count=2)


def test_error_of_a_process_is_the_one_that_was_raised(drive: Callable[..., None]) -> None:
    async def test(readers: Readers) -> None:
        (process,) = await have_processes(readers)
        with pytest.raises(InvalidInput) as caught:
            await readers.ask(drawings.refuse)
        assert caught.value.errors == (FieldError("series", "is wrong"),)
        assert caught.value.headers == {"Retry-After": "3"}
        with pytest.raises(RuntimeError, match=r"TwoArguments: 1 and 2"):
            await readers.ask(drawings.fail_strangely)
        with pytest.raises(TypeError) as unforeseen:
            await readers.ask(drawings.echo)  # type: ignore[call-arg]
        assert "In a reader process:\nTraceback" in unforeseen.value.__notes__[0]
        assert readers.processes == [process]

    drive(test)


def test_damage_that_a_process_meets_is_known_to_the_service(
    drive: Callable[..., None], store: Store
) -> None:
    async def test(readers: Readers) -> None:
        await have_processes(readers)
        with pytest.raises(StorageDamaged):
            await readers.ask(drawings.find_damage)
        assert store.condition.storage == "damaged"

    drive(test)


def test_killed_process_costs_no_answer_and_another_comes(
    drive: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    async def test(readers: Readers) -> None:
        (first,) = await have_processes(readers)
        os.kill(first, signal.SIGKILL)
        assert await readers.ask(drawings.tell_process) == os.getpid()
        (second,) = await have_processes(readers)
        assert second != first
        assert await readers.ask(drawings.tell_process) == second

    drive(test)
    assert "another is started" in caplog.text


def test_those_who_wait_for_a_process_that_dies_are_answered(
    drive: Callable[..., None], tmp_path: Path
) -> None:
    async def test(readers: Readers) -> None:
        (process,) = await have_processes(readers)
        busy = asyncio.create_task(readers.ask(drawings.draw_slowly, tmp_path / "began", 0.5))
        while not (tmp_path / "began").exists():
            await asyncio.sleep(0.01)
        asking = [asyncio.create_task(readers.ask(drawings.tell_process)) for _ in range(5)]
        await asyncio.sleep(0.05)
        os.kill(process, signal.SIGKILL)
        assert set(await asyncio.gather(busy, *asking)) == {os.getpid()}

    drive(test)


def test_after_several_breaks_no_other_is_started_for_a_while(
    drive: Callable[..., None], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest_s = 0.5
    monkeypatch.setattr(readers_module, "RESTS_S", (0.0, 0.0, rest_s))

    async def test(readers: Readers) -> None:
        for _ in readers_module.RESTS_S:
            (process,) = await have_processes(readers)
            os.kill(process, signal.SIGKILL)
            assert await readers.ask(drawings.tell_process) == os.getpid()
        broke_at = time.monotonic()
        while not readers.processes:
            assert await readers.ask(drawings.tell_process) == os.getpid()
            await asyncio.sleep(0.01)
        assert time.monotonic() - broke_at >= rest_s

    drive(test)
    assert "no other is started for 0.5 s" in caplog.text


def test_cancelled_question_with_a_large_answer_ends_its_process(
    drive: Callable[..., None], tmp_path: Path
) -> None:
    async def test(readers: Readers) -> None:
        (process,) = await have_processes(readers)
        asking = asyncio.create_task(readers.ask(drawings.draw_much, tmp_path / "began", 5_000_000))
        while not (tmp_path / "began").exists():
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert not is_alive(process)

    drive(test)


def test_readers_that_are_closed_while_one_starts_leave_none(store: Store, tmp_path: Path) -> None:
    async def run() -> None:
        readers = Readers(store.reader, f"sqlite:///{tmp_path / 'lossboard.db'}", 2)
        (first,) = (await have_processes(readers))[:1]
        asking = asyncio.create_task(readers.ask(drawings.draw_slowly, tmp_path / "began", LONG_S))
        while not (tmp_path / "began").exists():
            await asyncio.sleep(0.001)
        asking.cancel()
        await readers.close()
        assert not is_alive(first)
        with pytest.raises(asyncio.CancelledError):
            await asking
        with pytest.raises(Unavailable):
            await readers.ask(drawings.tell_process)

    asyncio.run(run())
    store.close()
    assert not (tmp_path / "lossboard.db-wal").exists()


def test_cancelled_caller_passes_on_that_a_process_is_idle(drive: Callable[..., None]) -> None:
    async def test(readers: Readers) -> None:
        await have_processes(readers)
        taken = await readers._take()
        first, second = (asyncio.create_task(readers._take()) for _ in range(2))
        await asyncio.sleep(0)
        await readers._put(taken)
        first.cancel()  # it has been told, and has not run since
        async with asyncio.timeout(10):
            assert await second is taken
        await readers._put(taken)

    drive(test)


def test_process_that_can_not_start_is_no_failure(
    drive: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    async def test(readers: Readers) -> None:
        async with asyncio.timeout(START_TIMEOUT_S):
            while "did not start" not in caplog.text:
                assert await readers.ask(drawings.tell_process) == os.getpid()
                await asyncio.sleep(0.01)

    drive(test, url="oracle://somewhere/else")
    assert "SQLite or PostgreSQL" in caplog.text
