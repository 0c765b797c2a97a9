"""`lossboard sync`: what is sent, kept and said, and its exit codes; beside a small real service."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from leftovers import ELSEWHERE, FORMER, HERE, make_folder
from lossboard.journal.locks import take_lock
from lossboard.journal.reading import SEGMENT_SLOTS, read_acked, read_manifest, segment_numbers
from lossboard.sending.cli_sync import main
from lossboard.sending.syncing import Order, Sync, find_folders
from lossboard.sending.transport import Transport
from records_service import TOKEN, RecordsService

FAR = ELSEWHERE | {"address": "https://far.example"}  # whom a compute node was told to send to
OURS = HERE | {"address": None}


def test_copy_is_sent_whatever_its_address_and_kept_with_its_mark_moved(
    service: RecordsService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_folder(tmp_path / "copy", **FAR, ended="finished")
    assert main([str(tmp_path / "copy")]) == 0
    assert service.column("index", run="A") == [0, 1, 2]
    assert service.states == [(folder.name, "finished")]
    assert read_acked(folder) == 3
    assert "sent 3 records of 1 run" in capsys.readouterr().out


def test_second_sync_of_a_copy_asks_nothing_and_says_so(
    service: RecordsService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_folder(tmp_path / "copy", **FAR, ended="finished")
    assert main([str(tmp_path / "copy")]) == 0
    asked = len(service.authorizations)
    assert main([str(tmp_path / "copy")]) == 0
    assert len(service.authorizations) == asked
    assert "nothing new" in capsys.readouterr().out
    assert main([str(tmp_path / "copy"), "--again"]) == 0
    assert service.column("index", run="A") == [0, 1, 2]
    assert service.duplicates == 3


def test_copy_that_grew_since_is_sent_from_where_the_first_sync_ended(
    service: RecordsService, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "node", **FAR, count=SEGMENT_SLOTS + 3)
    shutil.copytree(folder, tmp_path / "copy")
    with (tmp_path / "copy" / "000001.seg").open("r+b") as segment:
        segment.truncate(64)
    assert main([str(tmp_path / "copy")]) == 0
    shutil.copy(folder / "000001.seg", tmp_path / "copy")
    assert main([str(tmp_path / "copy")]) == 0
    assert service.column("index", run="A") == list(range(SEGMENT_SLOTS + 3))
    assert service.duplicates == 0
    assert segment_numbers(tmp_path / "copy") == [0, 1], "a copy is kept"


def test_copy_goes_with_remove_once_all_of_it_is_sent(service: RecordsService, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "copy", **FAR)
    assert main([str(tmp_path / "copy"), "--remove"]) == 0
    assert not folder.exists()
    assert service.column("index", run="A") == [0, 1, 2]


@pytest.mark.parametrize("below", [".", "journal", "journal/{name}", ".."])
def test_any_folder_around_a_writers_may_be_named(
    service: RecordsService, tmp_path: Path, below: str
) -> None:
    folder = make_folder(tmp_path / "copies" / "node", **FAR)
    assert main([str(tmp_path / "copies" / "node" / below.format(name=folder.name))]) == 0
    assert service.column("index", run="A") == [0, 1, 2]


def test_ranks_attempts_and_runs_of_several_nodes_are_sent_together(
    service: RecordsService, tmp_path: Path
) -> None:
    for rank, started in ((0, 1.0), (1, 1.0), (0, 2.0)):
        make_folder(tmp_path / f"node-{rank}", **FAR | {"rank": rank, "attempt": {"started_unix_s": started}})
    make_folder(tmp_path / "node-0", run="B", **ELSEWHERE, address=None)
    assert main([str(tmp_path)]) == 0
    heads = {(post["attempt"], post["rank"]) for post in service.posts if post.get("series")}
    assert heads == {(1.0, 0), (1.0, 1), (2.0, 0)}
    assert len(service.column("index", run="A")) == 9
    assert service.column("index", run="B") == [0, 1, 2]


def test_former_format_is_sent_whole(
    service: RecordsService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(FORMER / "format-1", tmp_path / "copy")
    assert main([str(tmp_path / "copy")]) == 0
    assert len(service.rows) == 24 + 35
    assert [state for _, state in service.states] == ["failed"], "the killed one's machine is not ours"
    assert "1 record missing (damaged)" in capsys.readouterr().err


def test_own_folder_is_sent_as_the_next_run_would_and_removed(
    service: RecordsService, state_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = make_folder(state_folder, **OURS)
    far = make_folder(state_folder, run="B", **HERE, address="https://far.example")
    other = make_folder(state_folder, run="C", **ELSEWHERE, address=None)
    assert main([]) == 0
    assert service.column("index") == [0, 1, 2]
    assert service.states == [(ours.name, "killed")]
    assert [path.exists() for path in (ours, far, other)] == [False, True, True]
    said = capsys.readouterr().err
    assert "meant for https://far.example" in said
    assert "belongs to compute-node" in said


def test_own_folder_that_is_named_is_sent_whole(service: RecordsService, state_folder: Path) -> None:
    make_folder(state_folder, run="B", **HERE, address="https://far.example")
    make_folder(state_folder, run="C", **ELSEWHERE, address=None)
    assert main([str(state_folder)]) == 0
    assert {row["run"] for row in service.rows} == {"B", "C"}
    assert list((state_folder / "journal").iterdir()) == []


def test_folder_that_is_still_written_is_left_alone_and_said(
    service: RecordsService, tmp_path: Path, state_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_folder(tmp_path / "copy", **FAR)
    lock = take_lock(folder / "lock")
    assert lock is not None
    assert main([str(tmp_path / "copy")]) == 1, "what was named is not all sent"
    assert "another process holds it" in capsys.readouterr().err
    lock.release()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        make_folder(state_folder, **OURS | {"pid": process.pid, "pid_started": None})
        assert main([]) == 0, "a training that runs is as it should be"
    assert "still writes it" in capsys.readouterr().err
    assert service.rows == []


def test_newer_format_is_left_alone_and_the_rest_is_sent(
    service: RecordsService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    newer = make_folder(tmp_path / "copy", **FAR, format=3)
    make_folder(tmp_path / "copy", **FAR, run="B")
    assert main([str(tmp_path / "copy")]) == 1
    assert "newer version of lossboard" in capsys.readouterr().err
    assert {row["run"] for row in service.rows} == {"B"}
    assert read_acked(newer) == 0


def test_refused_run_does_not_hold_up_the_others(
    service: RecordsService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_folder(tmp_path / "copy", **FAR, run="not an id")
    make_folder(tmp_path / "copy", **FAR, run="B")
    assert main([str(tmp_path / "copy")]) == 1
    assert "not sent" in capsys.readouterr().err
    assert {row["run"] for row in service.rows} == {"B"}


def test_service_that_is_away_for_a_moment_is_waited_for(service: RecordsService, tmp_path: Path) -> None:
    make_folder(tmp_path / "copy", **FAR, count=12_000)
    service.faults = ["", "503", "close", "503"]
    assert main([str(tmp_path / "copy")]) == 0
    assert service.column("index", run="A") == list(range(12_000))


def test_interrupt_leaves_a_mark_that_the_next_sync_goes_on_from(
    service: RecordsService, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "copy", **FAR, count=12_000)
    order = Order(url=None, is_named=True, is_copy=True, remove=False, again=False)

    def interrupt(done: int) -> None:
        raise KeyboardInterrupt  # Ctrl-C comes in the main thread, between two requests or in one

    with pytest.raises(KeyboardInterrupt):
        Sync(order, lambda: Transport(service.url, TOKEN), interrupt).send([folder])
    assert read_acked(folder) == 5_000
    lock = take_lock(folder / "lock")
    assert lock is not None, "the folder is free again"
    lock.release()
    assert main([str(tmp_path / "copy")]) == 0
    assert service.column("index", run="A") == list(range(12_000))
    assert service.duplicates == 0


def test_read_only_copy_is_sent_and_stored_once(service: RecordsService, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "copy", **FAR)
    (folder / "lock").unlink()
    (folder / "acked").symlink_to(tmp_path / "gone" / "acked")  # what root can't write either
    for _ in range(2):
        assert main([str(tmp_path / "copy")]) == 0
    assert service.column("index", run="A") == [0, 1, 2]


def test_links_are_not_followed(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "elsewhere", **FAR)
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "link").symlink_to(folder)
    assert find_folders(tmp_path / "copy") == []


def test_manifest_of_a_sent_copy_still_tells_all_that_it_told(
    service: RecordsService, tmp_path: Path
) -> None:
    folder = make_folder(tmp_path / "copy", **FAR, config={"lr": 0.1})
    before = json.loads((folder / "run.json").read_bytes())
    assert main([str(tmp_path / "copy")]) == 0
    assert read_manifest(folder) == before | {"delivered": True}
