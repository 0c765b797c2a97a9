"""Folders of dead writers: whose may be taken, and how their runs are said to have ended."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from leftovers import ELSEWHERE, HERE, indices, make_folder
from lossboard.identity import boot_id, is_alive, started_ticks
from lossboard.journal.locks import take_lock
from lossboard.sending.leftover import NotTaken, take_folder


def test_folder_of_a_dead_process_of_this_machine_is_taken(tmp_path: Path) -> None:
    left = take_folder(make_folder(tmp_path, **HERE))
    assert indices(left) == [0, 1, 2]
    assert left.end_state() == "killed"
    left.close(remove=True)
    assert list((tmp_path / "journal").iterdir()) == []


def test_folder_of_a_living_process_is_left_alone_also_where_somebody_names_it(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        folder = make_folder(tmp_path, **HERE | {"pid": process.pid}, pid_started=started_ticks(process.pid))
        for is_named in (False, True):
            with pytest.raises(NotTaken, match="still writes it"):
                take_folder(folder, is_named=is_named, is_copy=is_named)


def test_pid_that_was_given_again_does_not_keep_a_folder_from_being_taken(tmp_path: Path) -> None:
    parent = os.getppid()
    ticks = started_ticks(parent)
    assert ticks is not None
    take_folder(make_folder(tmp_path, **HERE | {"pid": parent}, pid_started=ticks + 1)).close(remove=False)
    take_folder(
        make_folder(tmp_path, **HERE | {"pid": parent, "boot": "another start"}, pid_started=ticks)
    ).close(remove=False)


def test_killed_process_whose_parent_never_asks_for_it_is_dead(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = started_ticks(process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, and still not asked for
    assert not is_alive(process.pid, started)
    assert not is_alive(process.pid, None)
    process.communicate()


def test_folder_that_another_process_holds_is_left_alone(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, **HERE)
    lock = take_lock(folder / "lock")
    assert lock is not None
    with pytest.raises(NotTaken, match="another process holds it"):
        take_folder(folder, is_named=True, is_copy=True)
    lock.release()


def test_another_container_of_this_machine_is_told_by_its_lock_alone(tmp_path: Path) -> None:
    alive = {"boot": boot_id(), "pid": os.getppid(), "pid_started": started_ticks(os.getppid())}
    folder = make_folder(tmp_path, **ELSEWHERE | alive)
    left = take_folder(folder)
    assert left.end_state() == "killed"
    left.close(remove=False)


def test_folder_of_another_machine_is_taken_only_where_somebody_names_it(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, **ELSEWHERE | {"pid": os.getppid()})
    with pytest.raises(NotTaken, match="belongs to compute-node"):
        take_folder(folder)
    left = take_folder(folder, is_named=True, is_copy=True)
    assert indices(left) == [0, 1, 2]
    assert left.end_state() is None, "nobody here knows whether it still runs there"
    left.close(remove=False)


def test_copy_of_a_machine_that_happens_to_be_called_as_ours_is_not_called_killed(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, **HERE | {"pid": os.getppid(), "boot": "another"})
    left = take_folder(folder, is_named=True, is_copy=True)
    assert left.end_state() is None
    left.close(remove=False)
    left = take_folder(folder)
    assert left.end_state() == "killed", "in our own state folder it is ours, from before a reboot"
    left.close(remove=False)


def test_without_a_lock_only_a_copy_or_a_dead_pid_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, operation: int) -> None:  # as NFS without its lock daemon does
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    take_folder(make_folder(tmp_path, **HERE)).close(remove=False)
    folder = make_folder(tmp_path, **HERE | {"boot": "another"})
    with pytest.raises(NotTaken, match="knows no locks"):
        take_folder(folder, is_named=True)
    take_folder(folder, is_named=True, is_copy=True).close(remove=False)


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"ended": "finished"}, "finished"),
        ({"ended": "failed"}, "failed"),
        ({"ended": "some later word"}, None),
        ({"is_forked": True}, None),
        ({"is_forked": True, "ended": "finished"}, None),
    ],
)
def test_end_is_told_as_the_writer_noted_it(
    tmp_path: Path, changes: dict[str, Any], state: str | None
) -> None:
    left = take_folder(make_folder(tmp_path, **HERE, **changes))
    assert left.end_state() == state
    left.close(remove=False)


def test_our_own_process_is_never_called_killed(tmp_path: Path) -> None:
    left = take_folder(
        make_folder(tmp_path, **HERE | {"pid": os.getpid()}, pid_started=started_ticks(os.getpid()))
    )
    assert left.end_state() is None
    left.close(remove=False)
