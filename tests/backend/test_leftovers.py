"""What the service notices of dead trainings in its state folder, and when it leaves them alone."""

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lossboard_server.leftovers import Leftovers
from lossboard_server.services import process_start


def read_text(path: str) -> str:
    return Path(path).read_text(encoding="ascii").strip()


def make_folder(root: Path, name: str, **changes: Any) -> Path:
    """Make a writer's folder as far as the service looks at it."""
    folder = root / "journal" / name
    folder.mkdir(parents=True)
    (folder / "lock").touch()
    manifest = {
        "pid": 2**22 + 1,  # beyond the largest that Linux gives
        "pid_started": 1,
        "boot": read_text("/proc/sys/kernel/random/boot_id"),
        "pid_space": str(Path("/proc/self/ns/pid").readlink()),
    }
    (folder / "run.json").write_text(json.dumps(manifest | changes))
    return folder


def test_nothing_is_found_where_no_training_ever_ran(tmp_path: Path) -> None:
    assert Leftovers(tmp_path).find() == []


def test_folder_of_a_dead_writer_is_found_once_and_again_after_a_while(tmp_path: Path) -> None:
    make_folder(tmp_path, "A")
    leftovers = Leftovers(tmp_path)
    assert leftovers.find() == ["A"]
    assert leftovers.find() == [], "what could not be sent a moment ago waits"
    make_folder(tmp_path, "B")
    assert leftovers.find() == ["B"]


def test_folder_of_a_living_writer_is_not_found(tmp_path: Path) -> None:
    make_folder(tmp_path, "A", pid=os.getpid(), pid_started=process_start(os.getpid()))
    assert Leftovers(tmp_path).find() == []


def test_folder_that_is_locked_is_not_found_until_the_lock_is_free(tmp_path: Path) -> None:
    leftovers = Leftovers(tmp_path)
    with (make_folder(tmp_path, "A", pid_space="pid:[1]") / "lock").open("rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert leftovers.find() == []
    assert leftovers.find() == ["A"]


def test_look_keeps_no_lock(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, "A")
    Leftovers(tmp_path).find()
    with (folder / "lock").open("rb+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_torn_folder_is_left_to_the_sync(tmp_path: Path) -> None:
    (tmp_path / "journal" / "A").mkdir(parents=True)
    assert Leftovers(tmp_path).find() == ["A"]


def test_sync_that_fails_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_folder(tmp_path, "A", format=99)
    leftovers = Leftovers(tmp_path)
    for _ in range(2):
        leftovers._send()
    (told,) = (record.getMessage() for record in caplog.records)
    assert "newer version of lossboard" in told


def test_killed_process_that_nobody_asks_for_has_no_start() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert process_start(process.pid) is None
    process.communicate()


@pytest.mark.parametrize("starts", [True, False])
def test_close_ends_the_thread(tmp_path: Path, starts: bool) -> None:
    leftovers = Leftovers(tmp_path, look_s=0.001)
    if starts:
        leftovers.start()
    leftovers.close()
    assert not leftovers._thread.is_alive()
