"""Trainings that are killed or had no network: their records and their end reach the service all the same."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from processes import Service, clean_environment, poll, start_script

pytestmark = pytest.mark.live

LOGGING = """
import os, sys, time
import lossboard

run = lossboard.init(run=sys.argv[1], project="synced")
count = int(sys.argv[2])
for batch in range(count):
    run.log(0, batch, 1 / (batch + 1), 4)
    if not batch % 100:
        print(batch, flush=True)
if sys.argv[3] == "wait":
    print("waiting", flush=True)
    sys.stdin.read() if sys.stdin else None
    time.sleep(60)
"""
COUNT = 1_000


@pytest.fixture(name="script")
def _script(tmp_path: Path) -> Path:
    path = tmp_path / "logging_script.py"
    path.write_text(LOGGING)
    return path


@pytest.fixture(name="absent")
def _absent(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path / "state")
    yield service
    service.stop()


def log_and_die(script: Path, folder: Path, run: str, **environment: str) -> None:
    """Log the records of a run, then be killed while still training."""
    with start_script(script, folder, run, str(COUNT), "wait", environment=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("waiting"):
                break
        process.send_signal(signal.SIGKILL)


def sync(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lossboard", "sync", *words],
        env=clean_environment(folder, **environment),
        capture_output=True,
        text=True,
        timeout=60,
    )


def about(service: Service, run: str) -> dict[str, Any]:
    found: dict[str, Any] = service.get(f"/api/v1/runs/{run}")
    return found


def has_run(service: Service, run: str) -> bool:
    return any(found["run"] == run for found in service.get("/api/v1/runs")["runs"])


def journals(folder: Path) -> list[Path]:
    return list((folder / "journal").glob("*"))


def test_killed_training_is_whole_and_called_killed_after_a_sync(
    absent: Service, script: Path, tmp_path: Path
) -> None:
    log_and_die(script, tmp_path / "node", "A", LOSSBOARD_MODE="offline")
    absent.start()
    answer = sync(tmp_path / "node", LOSSBOARD_URL=absent.url, LOSSBOARD_TOKEN=absent.token)
    assert answer.returncode == 0, answer.stderr
    assert "sent 1,000 records" in answer.stdout
    assert journals(tmp_path / "node") == []
    run = about(absent, "A")
    assert (run["counts"]["records"], run["state"]) == (COUNT, "killed")


def test_service_notices_a_killed_training_by_itself(service: Service, script: Path) -> None:
    log_and_die(script, service.folder, "A")
    poll(lambda: has_run(service, "A") and about(service, "A")["state"] == "killed", "the end")
    counts = about(service, "A")["counts"]
    assert (counts["records"], counts["gaps"]) == (COUNT, 0)
    poll(lambda: not journals(service.folder), "the journal's end")


def test_service_that_starts_later_sends_what_it_finds(absent: Service, script: Path) -> None:
    log_and_die(script, absent.folder, "A", LOSSBOARD_MODE="offline")
    with start_script(script, absent.folder, "B", str(COUNT), "wait") as living:
        assert living.stdout is not None
        while not (line := living.stdout.readline()).startswith("waiting"):
            assert line, "the training ended"
        absent.start()
        poll(lambda: has_run(absent, "A") and about(absent, "A")["state"] == "killed", "the killed run")
        poll(lambda: has_run(absent, "B") and about(absent, "B")["counts"]["records"] == COUNT, "the other")
        assert about(absent, "A")["counts"]["records"] == COUNT
        assert about(absent, "B")["state"] == "running"
        assert len(journals(absent.folder)) == 1
        living.kill()


def test_copied_folder_of_a_node_without_network_is_synced_twice_and_stored_once(
    service: Service, script: Path, tmp_path: Path
) -> None:
    node = tmp_path / "node"
    log_and_die(script, node, "A", LOSSBOARD_MODE="offline")
    with start_script(
        script, node, "B", str(COUNT), "end", environment={"LOSSBOARD_MODE": "offline"}
    ) as process:
        assert process.wait(60) == 0
    shutil.copytree(node, tmp_path / "copies" / "node")
    for folder in journals(tmp_path / "copies" / "node"):
        manifest = json.loads((folder / "run.json").read_text())
        changes = {"host": "compute-node", "boot": "another", "address": "https://unreachable.example"}
        (folder / "run.json").write_text(json.dumps(manifest | changes))
    first = sync(service.folder, str(tmp_path / "copies"))
    assert first.returncode == 0, first.stderr
    assert "sent 2,000 records of 2 runs" in first.stdout
    second = sync(service.folder, str(tmp_path / "copies"))
    assert "nothing new" in second.stdout
    again = sync(service.folder, str(tmp_path / "copies"), "--again")
    assert again.returncode == 0, again.stderr
    assert [about(service, run)["counts"]["records"] for run in "AB"] == [COUNT, COUNT]
    assert about(service, "B")["state"] == "finished"
    assert about(service, "A")["state"] != "killed", "nobody here knows what became of it there"


def test_interrupted_sync_goes_on_where_it_ended(service: Service, script: Path, tmp_path: Path) -> None:
    node = tmp_path / "node"
    count = 200_000
    with start_script(
        script, node, "A", str(count), "end", environment={"LOSSBOARD_MODE": "offline"}
    ) as process:
        assert process.wait(60) == 0
    (folder,) = journals(node)
    with subprocess.Popen(
        [sys.executable, "-m", "lossboard", "sync", str(node)],
        env=clean_environment(service.folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        poll(lambda: (folder / "acked").exists(), "the first acknowledgement")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert "goes on where this one ended" in process.stderr.read()  # type: ignore[union-attr]
    rest = sync(service.folder, str(node))
    assert rest.returncode == 0, rest.stderr
    run = about(service, "A")
    assert (run["counts"]["records"], run["counts"]["gaps"]) == (count, 0)
    assert run["state"] == "finished"


def test_sync_needs_nothing_but_python(service: Service, script: Path, tmp_path: Path) -> None:
    log_and_die(script, tmp_path / "node", "A", LOSSBOARD_MODE="offline")
    program = """
import sys
for name in ("fastapi", "sqlalchemy", "pydantic", "lossboard_server"):
    sys.modules[name] = None
from lossboard.cli import main
sys.exit(main())
"""
    answer = subprocess.run(
        [sys.executable, "-c", program, "sync", str(tmp_path / "node")],
        env=clean_environment(service.folder),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert answer.returncode == 0, answer.stderr
    assert about(service, "A")["counts"]["records"] == COUNT
