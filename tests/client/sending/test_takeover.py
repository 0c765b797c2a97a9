"""What dead writers left: sent by the next run of this machine, to where it was meant to go."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lossboard
from lossboard.journal.reading import read_manifest
from lossboard.sending.takeover import is_meant_for

StartRun = Callable[..., lossboard.Run]
Poll = Callable[..., None]


def log_some(run: lossboard.Run, count: int) -> None:
    for batch in range(count):
        run.log(0, batch, float(batch), 4)


def test_what_a_dead_writer_left_is_sent_by_the_next_run(
    absent_service: Any, start_run: StartRun, poll: Poll, state_folder: Path
) -> None:
    left = start_run(run="left", project="P1")
    log_some(left, 30)
    left.finish(deadline_s=0.5)
    assert len(list((state_folder / "journal").iterdir())) == 1
    absent_service.start()
    start_run(run="next", project="P2")
    poll(lambda: any(state == "finished" for _, state in absent_service.states))
    assert absent_service.column("index", run="left") == list(range(30))
    poll(lambda: len(list((state_folder / "journal").iterdir())) == 1)


def test_dead_folder_that_cannot_be_cleared_holds_up_nobody(
    absent_service: Any, start_run: StartRun, poll: Poll, state_folder: Path
) -> None:
    left = start_run(run="left")
    log_some(left, 3)
    left.finish(deadline_s=0.5)
    (folder,) = (state_folder / "journal").iterdir()
    (folder / "acked.new" / "in the way").mkdir(parents=True)  # what root can't write either
    absent_service.start()
    following = start_run(run="next")
    poll(lambda: absent_service.column("index", run="left") == [0, 1, 2])
    log_some(following, 3)
    poll(lambda: absent_service.column("index", run="next") == [0, 1, 2], timeout_s=2.0)
    assert following._faults.counts() == {}


def test_killed_script_is_told_as_killed_after_its_records_and_its_workers_are_not(
    absent_service: Any, start_run: StartRun, poll: Poll, state_folder: Path
) -> None:
    script = """
import os, signal, lossboard
run = lossboard.init(run="left", mode="offline")
for batch in range(10):
    run.log(0, batch, 1.0, 4)
if os.fork() == 0:
    run.log(0, 10, 1.0, 4)
    os.kill(os.getpid(), signal.SIGKILL)
os.wait()
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script], stderr=subprocess.DEVNULL, check=False)
    folders = list((state_folder / "journal").iterdir())
    (parent,) = (folder.name for folder in folders if not read_manifest(folder)["is_forked"])
    assert len(folders) == 2
    absent_service.start()
    start_run(run="next")
    poll(lambda: len(list((state_folder / "journal").iterdir())) == 1)
    assert sorted(absent_service.column("batch", run="left")) == list(range(11))
    assert [entry for entry in absent_service.states if entry[1] != "running"] == [(parent, "killed")]


def test_folder_of_a_newer_format_is_left_alone_with_one_message(
    absent_service: Any,
    start_run: StartRun,
    poll: Poll,
    state_folder: Path,
    warnings_of_lossboard: Callable[[], list[str]],
) -> None:
    for name in ("01A", "01B"):
        (state_folder / "journal" / name).mkdir(parents=True)
        (state_folder / "journal" / name / "run.json").write_text('{"format": 99}')
    absent_service.start()
    start_run(run="next")
    poll(lambda: any("upgraded" in line for line in warnings_of_lossboard()))
    start_run(run="other").finish()
    assert sum("journal format 99" in line for line in warnings_of_lossboard()) >= 1
    assert [line for line in warnings_of_lossboard() if "01B" in line] == []
    assert (state_folder / "journal" / "01A" / "run.json").read_text() == '{"format": 99}'


def test_records_that_were_meant_for_one_place_are_not_sent_to_another() -> None:
    here, far = "http://127.0.0.1:8765", "https://far.example"
    assert is_meant_for(None, None, here)
    assert is_meant_for(None, here, here)
    assert is_meant_for(far, far, far)
    assert is_meant_for("http://localhost:8765", None, here)
    assert not is_meant_for(None, far, far)
    assert not is_meant_for(far, None, here)
    assert not is_meant_for("http://localhost:8766", None, here)
