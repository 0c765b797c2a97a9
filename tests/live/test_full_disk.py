"""A full disk under the journal: what `log` returned for is delivered or counted, and the loop goes on."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from accounts import Loop, count_rows, find_faults
from lossboard.journal.journal import Bounds
from processes import Service, poll
from small_disk import fill, small_disk

pytestmark = pytest.mark.live

DISK_BYTES = 1 << 20
SLOTS = DISK_BYTES // 64  # records that such a disk could hold at most
RING_RECORDS = Bounds().ring_records  # that memory holds when the disk takes none
FAST = ("--pace-s", "0")
NO_ROOM = os.strerror(errno.ENOSPC)

Start = Callable[..., Loop]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    with small_disk(tmp_path / "disk", DISK_BYTES) as folder:
        yield folder


@pytest.fixture
def start(tmp_path: Path, service: Service, disk: Path) -> Iterator[Start]:
    """Start loops whose journal is on the small disk; the service's database is not."""
    loops: list[Loop] = []

    def start_loop(*arguments: str) -> Loop:
        told = {"LOSSBOARD_DIR": str(disk), "LOSSBOARD_URL": service.url, "LOSSBOARD_TOKEN": service.token}
        loops.append(Loop(tmp_path, len(loops), *arguments, **told))
        return loops[-1]

    yield start_loop
    for loop in loops:
        loop.kill()


def test_disk_that_is_full_in_the_middle_costs_nothing_that_memory_holds(
    start: Start, service: Service
) -> None:
    service.kill()
    records = SLOTS + RING_RECORDS // 2
    loop = start(*FAST, "--records", str(records), "--hold", "--deadline-s", "20")
    loop.wait_for(records)
    service.start()
    about = loop.end()
    assert NO_ROOM in about["output"]
    assert about["dropped"] == {}
    assert find_faults(service.folder / "lossboard.db", {0: about["logged"]}) == []


def test_what_neither_a_full_disk_nor_memory_could_hold_is_counted(start: Start, service: Service) -> None:
    service.kill()
    records = SLOTS + RING_RECORDS + 20_000
    loop = start(*FAST, "--records", str(records), "--hold", "--deadline-s", "20")
    loop.wait_for(records)
    service.start()
    about = loop.end()
    assert about["dropped"]["journal-full"] > 10_000
    stored = count_rows(service.folder / "lossboard.db", 0)
    assert stored + sum(about["dropped"].values()) == records
    (run,) = service.get("/api/v1/runs")["runs"]
    assert service.get(f"/api/v1/runs/{run['run']}")["counts"]["dropped"] == about["dropped"]


def test_disk_that_is_full_from_the_start_costs_one_warning(
    start: Start, service: Service, disk: Path
) -> None:
    fill(disk)
    loop = start("--records", "500")
    loop.wait_for(500)
    about = loop.end()
    assert about["output"].count(NO_ROOM) == 1
    assert find_faults(service.folder / "lossboard.db", {0: 500}) == []


def test_loop_with_neither_disk_nor_service_says_what_it_lost(
    start: Start, service: Service, disk: Path
) -> None:
    fill(disk)
    service.kill()
    loop = start("--records", "500", "--deadline-s", "1")
    loop.wait_for(500)
    about = loop.end()
    assert about["finish_s"] <= 2.0
    assert "500 records" in about["output"]
    assert "could neither be sent nor written to disk" in about["output"]


def test_disk_that_gets_room_again_keeps_what_was_in_memory_through_a_kill(
    start: Start, service: Service, disk: Path
) -> None:
    service.kill()
    filler = fill(disk)
    loop = start()
    loop.wait_for(500)
    filler.unlink()
    held = loop.logged()
    poll(lambda: sum(path.stat().st_size for path in disk.glob("journal/*/*.seg")) > held * 64, "the journal")
    loop.kill()
    service.start()
    following = start()
    poll(lambda: count_rows(service.folder / "lossboard.db", 0) >= loop.logged(), "what was left over")
    following.end()
    logged = {0: loop.logged(), 1: following.logged()}
    assert find_faults(service.folder / "lossboard.db", logged, killed={0}) == []
