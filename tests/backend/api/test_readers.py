"""Helper processes that draw: asked, broken, killed and ended, by a store of this process."""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import drawings
from lossboard_server.api.readers import MAX_BREAKS, Readers
from lossboard_server.errors import FieldError, InvalidInput, StorageDamaged
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
    """Run a test with readers of so many helpers, all of which end with it."""

    def drive(test: Test, processes: int = 1, url: str = "") -> None:
        url = url or f"sqlite:///{tmp_path / 'lossboard.db'}"

        async def run() -> None:
            readers = Readers(store.reader, store.condition, url, processes)
            try:
                async with asyncio.timeout(60):
                    await test(readers)
            finally:
                helpers = readers.helpers
                await readers.close()
                assert not any(map(is_alive, helpers))

        asyncio.run(run())

    return drive


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def have_helpers(readers: Readers, count: int = 1) -> list[int]:
    """Ask once, as nothing starts before, and wait for the helpers."""
    await readers.ask(drawings.tell_process)
    async with asyncio.timeout(START_TIMEOUT_S):
        while len(readers.helpers) < count:
            await asyncio.sleep(0.01)
    return readers.helpers


def test_first_answer_does_not_wait_and_later_ones_come_from_elsewhere(drive: Callable[..., None]) -> None:
    async def test(readers: Readers) -> None:
        assert not readers.helpers
        assert await readers.ask(drawings.tell_process) == os.getpid()
        (helper,) = await have_helpers(readers)
        assert await readers.ask(drawings.tell_process) == helper != os.getpid()

    drive(test)


def test_without_helpers_the_service_draws(drive: Callable[..., None]) -> None:
    async def test(readers: Readers) -> None:
        for _ in range(3):
            assert await readers.ask(drawings.tell_process) == os.getpid()
            await asyncio.sleep(0.05)
        assert not readers.helpers

    drive(test, processes=0)


@pytest.mark.parametrize(
    "value", [None, b"x" * 5_000_000, {"a": [1.5, None]}], ids=["none", "5 MB", "columns"]
)
def test_answers_come_whole_whatever_a_helper_prints(drive: Callable[..., None], value: Any) -> None:
    async def test(readers: Readers) -> None:
        await have_helpers(readers)
        assert await readers.ask(drawings.echo, value) == value
        assert await readers.ask(drawings.echo, 2) == 2

    drive(test)


def test_helper_sees_each_commit_at_once(drive: Callable[..., None], store: Store) -> None:
    async def test(readers: Readers) -> None:
        await have_helpers(readers)
        for number in range(20):
            await asyncio.wrap_future(store.put_run(f"r{number}", RunSpec()))
            assert await readers.ask(drawings.count_runs) == number + 1

    drive(test)


def test_long_answer_does_not_keep_the_others(drive: Callable[..., None], tmp_path: Path) -> None:
    async def test(readers: Readers) -> None:
        first = await have_helpers(readers, 2)
        long = asyncio.create_task(readers.ask(drawings.draw_slowly, tmp_path / "began", LONG_S))
        while not (tmp_path / "began").exists():
            await asyncio.sleep(0.01)
        others = {await readers.ask(drawings.tell_process) for _ in range(5)}
        assert len(others) == 1
        assert others < set(first)
        assert not long.done()
        long.cancel()  # ends its helper: the next caller must not get this answer
        with pytest.raises(asyncio.CancelledError):
            await long
        assert readers.helpers == list(others)
        second = await have_helpers(readers, 2)
        assert len(set(first) | set(second)) == 3

    drive(test, processes=2)


def test_error_of_a_helper_is_the_one_that_was_raised(drive: Callable[..., None]) -> None:
    async def test(readers: Readers) -> None:
        (helper,) = await have_helpers(readers)
        with pytest.raises(InvalidInput) as caught:
            await readers.ask(drawings.refuse)
        assert caught.value.errors == (FieldError("series", "is wrong"),)
        assert caught.value.headers == {"Retry-After": "3"}
        with pytest.raises(RuntimeError, match=r"TwoArguments: 1 and 2"):
            await readers.ask(drawings.fail_strangely)
        with pytest.raises(TypeError) as unforeseen:
            await readers.ask(drawings.echo)  # type: ignore[call-arg]
        assert "In a helper process:\nTraceback" in unforeseen.value.__notes__[0]
        assert readers.helpers == [helper]

    drive(test)


def test_damage_that_a_helper_meets_is_known_to_the_service(drive: Callable[..., None], store: Store) -> None:
    async def test(readers: Readers) -> None:
        await have_helpers(readers)
        with pytest.raises(StorageDamaged):
            await readers.ask(drawings.find_damage)
        assert store.condition.storage == "damaged"

    drive(test)


def test_killed_helper_costs_no_answer_and_another_comes(
    drive: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    async def test(readers: Readers) -> None:
        (first,) = await have_helpers(readers)
        os.kill(first, signal.SIGKILL)
        assert await readers.ask(drawings.tell_process) == os.getpid()
        (second,) = await have_helpers(readers)
        assert second != first
        assert await readers.ask(drawings.tell_process) == second

    drive(test)
    assert "another is started" in caplog.text


def test_those_who_wait_for_a_helper_that_dies_are_answered(
    drive: Callable[..., None], tmp_path: Path
) -> None:
    async def test(readers: Readers) -> None:
        (helper,) = await have_helpers(readers)
        busy = asyncio.create_task(readers.ask(drawings.draw_slowly, tmp_path / "began", 0.5))
        while not (tmp_path / "began").exists():
            await asyncio.sleep(0.01)
        asking = [asyncio.create_task(readers.ask(drawings.tell_process)) for _ in range(5)]
        await asyncio.sleep(0.05)
        os.kill(helper, signal.SIGKILL)
        assert set(await asyncio.gather(busy, *asking)) == {os.getpid()}

    drive(test)


def test_helpers_that_keep_breaking_are_given_up(
    drive: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    async def test(readers: Readers) -> None:
        for _ in range(MAX_BREAKS):
            (helper,) = await have_helpers(readers)
            os.kill(helper, signal.SIGKILL)
            assert await readers.ask(drawings.tell_process) == os.getpid()
        for _ in range(3):
            assert await readers.ask(drawings.tell_process) == os.getpid()
            await asyncio.sleep(0.05)
        assert not readers.helpers

    drive(test)
    assert "draws by itself from now on" in caplog.text


def test_helper_that_can_not_start_is_no_failure(
    drive: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    async def test(readers: Readers) -> None:
        async with asyncio.timeout(START_TIMEOUT_S):
            while "from now on" not in caplog.text:
                assert await readers.ask(drawings.tell_process) == os.getpid()
                await asyncio.sleep(0.01)

    with caplog.at_level(logging.WARNING):
        drive(test, url="oracle://somewhere/else")
    assert "did not start" in caplog.text
