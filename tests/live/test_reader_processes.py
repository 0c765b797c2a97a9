"""The processes that draw beside a real service: they come with the first question and never outlive it."""

import os
import signal
import sys
from pathlib import Path

import pytest

from processes import Service, poll

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc"),
]

READERS = 2
END_TIMEOUT_S = 5.0


def find_readers(service: Service) -> list[int]:
    """Return the processes that the service has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(fields[1]) == service.pid:
            found.append(int(path.parent.name))
    return found


def start_readers(service: Service) -> list[int]:
    """Ask as a page does and wait for all readers to be ready."""
    assert service.get("/api/v1/runs")["total"] == 0
    told = f"lossboard_readers {READERS}\n"
    poll(lambda: told in service.fetch("GET", "/metrics").decode(), "the readers")
    readers = find_readers(service)
    assert len(readers) == READERS
    return readers


def are_gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_readers_draw_what_was_stored_last_and_end_before_the_database_is_closed(service: Service) -> None:
    assert find_readers(service) == []  # nobody has asked
    readers = start_readers(service)
    for number in range(5):
        service.send("PUT", f"/api/v1/runs/r{number}", {})
        assert service.get("/api/v1/runs")["total"] == number + 1
    service.stop()
    assert are_gone(readers)
    assert "Traceback" not in service.log
    # The last connection to close writes the WAL back: the one file is all there is to copy.
    assert not service.folder.joinpath("lossboard.db-wal").exists()


def test_readers_end_with_a_service_that_was_killed(service: Service) -> None:
    readers = start_readers(service)
    service.kill()
    poll(lambda: are_gone(readers), "the readers to end", timeout_s=END_TIMEOUT_S)
    service.start()
    assert service.get("/api/v1/runs")["total"] == 0


def test_killed_readers_are_no_failed_answer(service: Service) -> None:
    killed = start_readers(service)
    for reader in killed:
        os.kill(reader, signal.SIGKILL)

    def have_others_come() -> bool:
        assert service.get("/api/v1/runs")["total"] == 0
        readers = find_readers(service)
        return len(readers) == READERS and not set(readers) & set(killed)

    poll(have_others_come, "other readers")
    assert "a reader process ended: another is started" in service.log
