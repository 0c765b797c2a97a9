"""What former formats, crashes and damage left in a writer's folder: read as far as possible, and counted."""

import json
import math
import os
import shutil
import socket
import time
from pathlib import Path

import pytest

from leftovers import FORMER, HERE, NO_PID, indices, make_folder, read_all
from lossboard.journal.locks import take_lock
from lossboard.journal.reading import SEGMENT_SLOTS, NewerFormat, read_acked, read_manifest, segment_path
from lossboard.journal.slots import SLOT_BYTES, pack
from lossboard.sending.leftover import TORN_AGE_S, discard_torn, take_folder


def test_journal_of_the_former_format_is_read_whole(tmp_path: Path) -> None:
    shutil.copytree(FORMER / "format-1", tmp_path / "copy")
    left = take_folder(tmp_path / "copy" / "killed", is_named=True, is_copy=True)
    found = read_all(left)
    assert [index for index, _ in found] == list(range(10, 35))
    assert [index for index, record in found if record is None] == [12]
    names = [left.series[record.series].name for _, record in found if record]
    assert names == ["train/loss"] * 19 + ["val/loss"] * 5
    losses = [record.loss for _, record in found if record]
    assert losses[0] == 1 / 11
    assert math.isnan(losses[-2])
    assert left.traits == {"train/loss": {"finding": "mean"}}
    left.close(remove=False)
    left = take_folder(tmp_path / "copy" / "failed", is_named=True, is_copy=True)
    assert indices(left) == list(range(35))
    assert left.end_state() == "failed"
    left.close(remove=False)


def test_former_format_of_this_host_is_taken_over_as_it_was(tmp_path: Path) -> None:
    shutil.copytree(FORMER / "format-1" / "killed", folder := tmp_path / "killed")
    manifest = json.loads((folder / "run.json").read_bytes())
    (folder / "run.json").write_text(json.dumps(manifest | {"host": socket.gethostname(), "pid": NO_PID}))
    left = take_folder(folder)
    assert left.end_state() == "killed"
    left.close(remove=True)
    assert not folder.exists()


def test_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, **HERE, format=3)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(NewerFormat, match="newer version"):
        take_folder(folder, is_named=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("content", [b"", b'{"format": 2, "wri', b"[]"])
def test_torn_manifest_hides_no_record(tmp_path: Path, content: bytes) -> None:
    folder = make_folder(tmp_path, **HERE)
    (folder / "run.json").write_bytes(content)
    left = take_folder(folder)
    assert indices(left) == [0, 1, 2]
    assert left.manifest["run"] == "A"
    left.close(remove=False)


def test_folder_without_manifest_and_records_goes_when_it_is_old(tmp_path: Path) -> None:
    folder = tmp_path / "torn"
    folder.mkdir()
    (folder / "lock").touch()
    (folder / "run.json.new").write_bytes(b'{"form')
    assert not discard_torn(folder), "it may be in the making"
    old = time.time() - TORN_AGE_S - 1
    os.utime(folder, (old, old))
    lock = take_lock(folder / "lock")
    assert lock is not None
    assert not discard_torn(folder), "somebody holds it"
    lock.release()
    assert discard_torn(folder)
    assert not folder.exists()


def test_folder_without_manifest_but_with_records_is_kept(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, **HERE)
    (folder / "run.json").unlink()
    (folder / "series.jsonl").unlink()
    old = time.time() - TORN_AGE_S - 1
    os.utime(folder, (old, old))
    assert not discard_torn(folder)


@pytest.mark.parametrize("mark", [b"", b"\0\0\0", b"-5", b"999999", b"nonsense"])
def test_mark_that_cannot_be_trusted_costs_time_only(tmp_path: Path, mark: bytes) -> None:
    folder = make_folder(tmp_path, **HERE)
    (folder / "acked").write_bytes(mark)
    assert read_acked(folder) is None
    left = take_folder(folder)
    assert indices(left) == [0, 1, 2]
    assert left.faults.counts() == {}
    left.close(remove=False)


def test_segments_gone_under_a_lost_mark_count_as_sent(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, **HERE, count=SEGMENT_SLOTS + 2)
    segment_path(folder, 0).unlink()
    (folder / "acked").write_bytes(b"")
    left = take_folder(folder)
    assert indices(left) == [SEGMENT_SLOTS, SEGMENT_SLOTS + 1]
    assert left.faults.counts() == {}
    left.close(remove=False)


def test_gap_that_the_writer_counted_is_not_counted_again(tmp_path: Path) -> None:
    counted = {"dropped": {"journal-full": SEGMENT_SLOTS}, "counted_to": SEGMENT_SLOTS + 1}
    for changes in ({}, counted):
        folder = make_folder(tmp_path, **HERE, count=SEGMENT_SLOTS + 2, **changes)
        segment_path(folder, 0).unlink()
        left = take_folder(folder)
        assert indices(left) == [SEGMENT_SLOTS, SEGMENT_SLOTS + 1]
        assert left.faults.counts() == {"journal-full": SEGMENT_SLOTS}
        left.acknowledge(SEGMENT_SLOTS + 2)
        assert read_manifest(folder)["dropped"] == {"journal-full": SEGMENT_SLOTS}
        left.close(remove=False)


def test_records_of_a_series_whose_line_is_damaged_are_counted_as_damaged(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, **HERE, count=1)
    lines = (folder / "series.jsonl").read_bytes().split(b"\n")
    second = lines[1].replace(b'"number": 0', b'"number": 1').replace(b"train/loss", b"val/loss")
    (folder / "series.jsonl").write_bytes(b"\n".join([lines[0], b"\xff" + lines[1], second, b""]))
    with segment_path(folder, 0).open("ab") as segment:
        segment.write(pack(1, 0, 1, 1.0, 1, None, 1.0, 0, None, None, None, None))
    left = take_folder(folder)
    first, other = (record for _, record in read_all(left))
    assert first is None
    assert other is not None
    assert left.series[other.series].name == "val/loss"
    left.close(remove=False)


def test_truncated_series_file_costs_only_the_series_that_it_lost(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, **HERE, count=1)
    content = (folder / "series.jsonl").read_bytes()
    (folder / "series.jsonl").write_bytes(content[: content.index(b"\n") + 5])
    left = take_folder(folder)
    assert read_all(left) == [(0, None)]
    left.close(remove=False)


def test_kept_folder_moves_its_mark_and_keeps_its_records(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, **HERE, count=SEGMENT_SLOTS + 1)
    left = take_folder(folder, keep=True)
    left.acknowledge(SEGMENT_SLOTS + 1)
    left.note_delivered()
    left.close(remove=False)
    assert segment_path(folder, 0).stat().st_size == SEGMENT_SLOTS * SLOT_BYTES
    left = take_folder(folder, keep=True)
    assert left.is_sent
    assert indices(left) == []
    left.close(remove=False)
    left = take_folder(folder, keep=True, again=True)
    assert not left.is_sent
    assert left.pending() == SEGMENT_SLOTS + 1
    left.close(remove=False)
