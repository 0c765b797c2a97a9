"""Importing, exporting, backing up and deleting with processes that are killed in the middle of it."""

import signal
import subprocess
import sys
import urllib.error
from pathlib import Path

import pytest

from processes import Service, clean_environment, poll, running_service

pytestmark = pytest.mark.live

RECORDS = 30_000
RUN = "/api/v1/runs/many"


def start_command(service: Service, *words: str) -> subprocess.Popen[str]:
    """Start one command beside the service."""
    return subprocess.Popen(
        [sys.executable, "-m", "lossboard", *words],
        env=clean_environment(service.folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def type_command(service: Service, *words: str) -> str:
    """Run one command to its end and return what it said."""
    process = start_command(service, *words)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return said


def count(service: Service) -> int:
    """Return how many records the run has, 0 while there is no such run."""
    try:
        return int(service.get(RUN)["records"])
    except urllib.error.HTTPError:
        return 0


def test_whatever_is_killed_on_the_way_every_record_comes_through_once(tmp_path: Path) -> None:
    file, again = tmp_path / "many.csv", tmp_path / "again.csv"
    rows = "".join(f"{n // 1000},{n % 1000},{1 + n % 7 / 8},32,{1e9 + n}\n" for n in range(RECORDS))
    file.write_text("epoch,batch,loss,batch_size,time\n" + rows)
    with running_service(tmp_path / "state") as service:
        process = start_command(service, "import", str(file))
        poll(lambda: count(service) > 0, "the first records of the import")
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=10)
        assert 0 < count(service) < RECORDS, "it was killed in the middle"
        service.kill()
        service.start()
        assert f"({RECORDS:,} records)" in type_command(service, "import", str(file))
        type_command(service, "export", "many", "-o", str(again))
        lines = again.read_text().splitlines()
        losses = [float(line.split(",")[7]) for line in lines[1:]]
        assert losses == [1 + n % 7 / 8 for n in range(RECORDS)]

        copy = tmp_path / "copy.db"
        process = start_command(service, "backup", str(copy))
        poll(
            lambda: copy.with_name("copy.db.part").exists() or process.poll() is not None, "the copy's start"
        )
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=10)
        assert "checked" in type_command(service, "backup", str(copy), "--force")
        assert copy.stat().st_mode & 0o077 == 0

        service.send("PATCH", RUN, {"archived": True})
        service.fetch("DELETE", RUN)
        service.kill()
        service.start()
        assert count(service) == 0
        poll(lambda: not service.get("/api/v1/keeping")["deleting"], "the end of deleting")
        assert service.get("/api/v1/keeping")["stored"]["records"] == 0
