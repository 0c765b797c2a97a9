"""A full disk under the service's database: nothing is half stored or lost, and room is noticed by itself."""

import json
import resource
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from accounts import Loop, count_rows, find_disagreements, find_faults
from processes import Service, poll, refuse_to_serve, running_service
from small_disk import fill, small_disk

pytestmark = pytest.mark.live

DISK_BYTES = 6 << 20
ROWS_A_REQUEST = 2_000
FILE_LIMIT_BYTES = 1 << 20
SETTING = 2  # exit code


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a few MiB for the database alone; journals and the service's own files are elsewhere."""
    with small_disk(tmp_path / "disk", DISK_BYTES) as folder:
        yield folder


@pytest.fixture
def database(disk: Path) -> Path:
    return disk / "lossboard.db"


@pytest.fixture
def service(tmp_path: Path, database: Path) -> Iterator[Service]:
    with running_service(tmp_path / "state", "--database", f"sqlite:///{database}") as service:
        yield service


def test_disk_that_is_full_in_a_commit_refuses_the_whole_request_and_recovers(
    service: Service, database: Path, disk: Path
) -> None:
    service.send("PUT", "/api/v1/runs/r", {})
    filler = fill(disk)
    stored = 0
    while (problem := post_rows(service, stored)) is None:
        stored += ROWS_A_REQUEST
        assert stored < 200_000, "the disk must be full"
    assert (problem["status"], problem["code"]) == (507, "storage-full")
    assert service.get("/readyz") == {"status": "ready", "storage": "full"}
    # Readers are served, and see whole requests.
    (run,) = service.get("/api/v1/runs")["runs"]
    assert run["records"] == stored == count_rows(database, 0)
    (epoch,) = service.get("/api/v1/runs/r/epochs?series=train/loss")["epochs"] if stored else ({},)
    assert epoch.get("batches_seen", 0) == stored
    filler.unlink()
    assert post_rows(service, stored) is None
    assert service.get("/readyz") == {"status": "ready"}
    assert count_rows(database, 0) == stored + ROWS_A_REQUEST
    assert find_disagreements(database) == []
    assert service.log.count("the disk is full") == 1
    assert "has room again" in service.log
    assert "Traceback" not in service.log


def test_client_keeps_its_journal_while_the_services_disk_is_full_and_sends_it_then(
    service: Service, database: Path, disk: Path
) -> None:
    loop = Loop(service.folder, 0)
    try:
        poll(lambda: count_rows(database, 0) > 50, "the first records")
        filler = fill(disk)
        poll(lambda: service.get("/readyz").get("storage") == "full", "a full disk")
        held = loop.logged()
        loop.wait_for(held + 300)
        service.kill()
        service.start()  # on a disk that is still full
        assert count_rows(database, 0) <= held + 300
        filler.unlink()
        poll(lambda: count_rows(database, 0) >= held + 300, "what was held up")
        about = loop.end()
    finally:
        loop.kill()
    assert about["dropped"] == {}
    assert find_faults(database, {0: loop.logged()}) == []
    assert find_disagreements(database) == []


def test_new_database_on_a_full_disk_is_refused_with_what_to_do(tmp_path: Path, disk: Path) -> None:
    fill(disk)
    ended = refuse_to_serve(tmp_path / "state", "--database", f"sqlite:///{disk / 'new.db'}")
    assert ended.returncode == SETTING
    assert "disk is full" in ended.stderr
    assert "--database" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_quota_is_told_as_a_full_disk_and_recovered_from(tmp_path: Path) -> None:
    with running_service(tmp_path) as service:
        service.send("PUT", "/api/v1/runs/r", {})
        # What a quota does, and needs no right to mount anything: no file may grow beyond this.
        _, most = resource.prlimit(service.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (FILE_LIMIT_BYTES, most))
        stored = 0
        while (problem := post_rows(service, stored)) is None:
            stored += ROWS_A_REQUEST
            assert stored < 200_000, "the limit must have been met"
        assert (problem["status"], problem["code"]) == (507, "storage-full")
        assert count_rows(tmp_path / "lossboard.db", 0) == stored
        resource.prlimit(service.pid, resource.RLIMIT_FSIZE, (most, most))
        assert post_rows(service, stored) is None
        assert service.get("/readyz") == {"status": "ready"}
    assert count_rows(tmp_path / "lossboard.db", 0) == stored + ROWS_A_REQUEST
    assert find_disagreements(tmp_path / "lossboard.db") == []


def post_rows(service: Service, first: int) -> dict[str, Any] | None:
    """Post a request's records; return the problem that it was answered with, if any."""
    batches = range(first, first + ROWS_A_REQUEST)
    rows = [{"epoch": 0, "batch": batch, "loss": batch % 7 + 0.5, "batch_size": 4} for batch in batches]
    try:
        service.send("POST", "/api/v1/runs/r/records", {"records": rows})
    except urllib.error.HTTPError as error:
        with error:
            return dict(json.load(error))
    return None
