"""A service that is away, slow, or talks nonsense costs the loop nothing and the records nothing."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from accounts import Loop, count_rows, find_faults
from faulty_line import SLOW_S, FaultyLine
from processes import Service, poll, running_service

pytestmark = pytest.mark.live

DEADLINE_S = 1.0  # of the loops' finish
GRACE_S = 1.0  # for a busy machine
RECORDS = 400

EPOCHS = itertools.count()

Start = Callable[..., Loop]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests here, on a folder that is not the clients'."""
    with running_service(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture
def line(service: Service) -> Iterator[FaultyLine]:
    """What lies between."""
    line = FaultyLine(service.port)
    yield line
    line.stop()


@pytest.fixture
def start(tmp_path: Path, service: Service, line: FaultyLine) -> Iterator[Start]:
    """Start loops on one folder, whose service is at the other end of the line; no two have one epoch."""
    folder = tmp_path / "client"
    folder.mkdir()
    loops: list[Loop] = []

    def start_loop(*arguments: str, url: str = line.url) -> Loop:
        told = ("--deadline-s", str(DEADLINE_S), *arguments)
        environment = {"LOSSBOARD_URL": url, "LOSSBOARD_TOKEN": service.token}
        loops.append(Loop(folder, next(EPOCHS), *told, **environment))
        return loops[-1]

    yield start_loop
    for loop in loops:
        loop.process.kill()
        loop.process.communicate()


def check_finish(about: dict[str, Any]) -> None:
    """Hold the end of a loop against its deadline."""
    assert about["finish_s"] <= DEADLINE_S + GRACE_S
    assert not any(about["dropped"].values())


def check_delivered(service: Service, *loops: Loop) -> None:
    """Look for every record of these loops in the service's database, once each."""
    assert find_faults(database_of(service), {loop.epoch: loop.logged() for loop in loops}) == []


def check_delivered_by_next(start: Start, service: Service, loop: Loop) -> None:
    """Start the loop once more and see everything arrive, what was left over included."""
    following = start()
    poll(lambda: count_rows(database_of(service), loop.epoch) >= loop.logged(), "what was left over")
    check_finish(following.end())
    check_delivered(service, loop, following)


def database_of(service: Service) -> Path:
    """Return where the service keeps its rows."""
    return service.folder / "lossboard.db"


@pytest.mark.parametrize(
    "mode", ["slow", "silent", "trickle", "garbage", "foreign", "500", "404", "401", "drop"]
)
def test_faulty_service_delays_no_exit_and_the_next_start_delivers(
    start: Start, service: Service, line: FaultyLine, mode: str
) -> None:
    line.mode = mode
    loop = start("--records", str(RECORDS))
    loop.wait_for(RECORDS)
    about = loop.end()
    check_finish(about)
    assert line.requests.keys() == {mode}
    assert "kept in" in about["output"]
    line.mode = "pass"
    check_delivered_by_next(start, service, loop)


def test_service_that_answers_500_for_a_while_gets_everything(
    start: Start, service: Service, line: FaultyLine
) -> None:
    loop = start()
    for _ in range(2):
        line.mode = "500"
        failed = line.requests.get("500", 0)
        poll(lambda before=failed: line.requests.get("500", 0) > before + 2, "answers of 500")
        line.mode = "pass"
        poll(lambda: loop.logged() - count_rows(database_of(service), loop.epoch) < 200, "what was held up")
    check_finish(loop.end())
    check_delivered(service, loop)


def test_lost_acknowledgements_store_nothing_twice(start: Start, service: Service, line: FaultyLine) -> None:
    line.mode, line.chance = "cut", 0.5
    loop = start()
    poll(lambda: line.requests.get("cut", 0) >= 8, "lost acknowledgements")
    line.mode = "pass"
    check_finish(loop.end())
    check_delivered(service, loop)


@pytest.mark.parametrize("faults", [10, pytest.param(100, marks=pytest.mark.soak)])
def test_line_with_every_kind_of_fault_delivers_each_record_once(
    start: Start, service: Service, line: FaultyLine, faults: int
) -> None:
    line.mode, line.chance = "any", 0.25
    loop = start()
    poll(lambda: line.faults() >= faults, f"{faults} faults", timeout_s=240.0)
    line.mode = "pass"
    check_finish(loop.end())
    print(line.requests)
    check_delivered(service, loop)


@pytest.mark.parametrize("slow_s", [0.6, pytest.param(SLOW_S, marks=pytest.mark.soak)])
def test_slow_service_gets_everything_while_the_loop_goes_on(
    start: Start, service: Service, line: FaultyLine, slow_s: float
) -> None:
    line.mode, line.slow_s = "slow", slow_s
    loop = start()
    for _ in range(3):
        held = loop.logged()
        poll(lambda more=held + 1: count_rows(database_of(service), loop.epoch) >= more, "more records")
    check_finish(loop.end())
    line.mode = "pass"
    check_delivered_by_next(start, service, loop)


def test_name_server_that_hangs_delays_nothing(start: Start, service: Service) -> None:
    loop = start("--records", str(RECORDS), "--hang-dns", url="http://lossboard.example:8765")
    loop.wait_for(RECORDS)
    about = loop.end()
    check_finish(about)
    assert "kept in" in about["output"]


def test_loop_without_any_service_leaves_all_to_the_next_start(start: Start, service: Service) -> None:
    service.kill()
    try:
        loop = start("--records", str(RECORDS))
        loop.wait_for(RECORDS)
        check_finish(loop.end())
    finally:
        service.start()
    check_delivered_by_next(start, service, loop)


def test_loop_whose_service_dies_in_the_middle_leaves_the_rest_to_the_next_start(
    start: Start, service: Service
) -> None:
    loop = start()
    poll(lambda: count_rows(database_of(service), loop.epoch) > 50, "the first records")
    service.kill()
    try:
        loop.wait_for(loop.logged() + 200)
        check_finish(loop.end())
    finally:
        service.start()
    check_delivered_by_next(start, service, loop)
