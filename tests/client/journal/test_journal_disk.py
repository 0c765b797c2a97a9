"""The journal on disks that fail: full, read-only, gone; and back on a disk that has room again."""

import errno
import os
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from journals import MEANING, make_slot
from lossboard.faults import Faults
from lossboard.journal.journal import Bounds, Journal
from lossboard.journal.reading import (
    SEGMENT_SLOTS,
    Indexed,
    read_manifest,
    read_records,
    read_series,
    segment_numbers,
    segment_path,
)
from lossboard.journal.ring import Ring
from lossboard.journal.slots import SLOT_BYTES


def open_journal(root: Path, *, strict: bool = False, online: bool = True, **bounds: Any) -> Journal:
    given = Bounds(**{"disk_retry_s": 0.0} | bounds)
    return Journal(root, {"run": "A"}, Faults(strict=strict), online=online, bounds=given)


def folder_of(journal: Journal) -> Path:
    assert journal.folder is not None
    return journal.folder


def taken(journal: Journal, limit: int = 100_000) -> list[tuple[int, int | None]]:
    """Take all that the sender would."""
    found: list[tuple[int, int | None]] = []
    while records := journal.read(limit):
        found += [(index, record and record.batch) for index, record in records]
    return found


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file of this process grows beyond `size` bytes: as on a full disk the last write is a part."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.fixture(name="journal")
def _journal(tmp_path: Path) -> Iterator[Journal]:
    journal = open_journal(tmp_path)
    yield journal
    journal.close()


def test_unwritable_folder_raises_where_strict(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("in the way")
    with pytest.raises(OSError):
        open_journal(tmp_path, strict=True)


def test_ring_keeps_the_newest_records_and_counts_the_rest(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("in the way")
    journal = open_journal(tmp_path, ring_records=3)
    for batch in range(5):
        journal.append(make_slot(batch))
    assert taken(journal) == [(2, 2), (3, 3), (4, 4)]
    assert journal._faults.counts() == {"journal-full": 2}
    journal.append(make_slot(5))
    assert taken(journal) == [(5, 5)]
    assert journal.folder is None
    journal.close()


def test_folder_that_cannot_be_made_whole_is_not_left_behind(tmp_path: Path) -> None:
    with full_disk(10):
        journal = open_journal(tmp_path)
    assert journal.folder is None
    assert list((tmp_path / "journal").iterdir()) == []
    journal.close()


def test_disk_that_fills_up_in_mid_slot_costs_no_record_and_no_index(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, disk_retry_s=60.0)
    with full_disk(2 * SLOT_BYTES + 40):
        for batch in range(4):
            journal.append(make_slot(batch))
        assert segment_path(folder_of(journal), 0).stat().st_size == 2 * SLOT_BYTES, "the torn slot is cut"
        assert taken(journal) == [(batch, batch) for batch in range(4)]
    assert journal._faults.counts() == {}
    journal.close()


def test_records_go_back_to_a_disk_that_has_room_again(journal: Journal) -> None:
    with full_disk(2 * SLOT_BYTES):
        for batch in range(5):
            journal.append(make_slot(batch))
        assert journal.unsaved() == 3
    for batch in range(5, 8):
        journal.append(make_slot(batch))
    assert journal.unsaved() == 0
    on_disk = [(index, record and record.batch) for index, record in read_records(folder_of(journal))]
    assert on_disk == [(batch, batch) for batch in range(8)]
    assert taken(journal) == on_disk
    assert journal._faults.counts() == {}


def test_what_was_sent_from_memory_is_not_sent_again_from_disk(journal: Journal) -> None:
    with full_disk(2 * SLOT_BYTES):
        for batch in range(6):
            journal.append(make_slot(batch))
        first = taken(journal, limit=2)[:4]
        assert [index for index, _ in first] == [0, 1, 2, 3]
    journal.append(make_slot(6))
    assert journal.unsaved() == 0
    assert taken(journal) == [(6, 6)]
    assert [index for index, _ in read_records(folder_of(journal))] == [0, 1, 6]


def test_hole_of_dropped_records_is_counted_once_and_read_over(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, ring_records=3)
    with full_disk(2 * SLOT_BYTES):
        for batch in range(10):
            journal.append(make_slot(batch))
    journal.append(make_slot(10))
    assert taken(journal) == [(0, 0), (1, 1), (8, 8), (9, 9), (10, 10)]
    assert journal._faults.counts() == {"journal-full": 6}
    journal.close()


def test_records_in_memory_go_back_over_the_end_of_a_segment(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    for batch in range(SEGMENT_SLOTS - 2):
        journal.append(make_slot(batch))
    with full_disk((SEGMENT_SLOTS - 2) * SLOT_BYTES):
        for batch in range(SEGMENT_SLOTS - 2, SEGMENT_SLOTS + 3):
            journal.append(make_slot(batch))
    for batch in range(SEGMENT_SLOTS + 3, SEGMENT_SLOTS + 5):
        journal.append(make_slot(batch))
    assert segment_numbers(folder_of(journal)) == [0, 1]
    assert taken(journal) == [(batch, batch) for batch in range(SEGMENT_SLOTS + 5)]
    journal.close()


def test_segment_filled_to_the_brim_from_memory_is_followed_by_the_next(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    for batch in range(SEGMENT_SLOTS - 2):
        journal.append(make_slot(batch))
    with full_disk((SEGMENT_SLOTS - 2) * SLOT_BYTES):
        journal.append(make_slot(SEGMENT_SLOTS - 2))
    for batch in range(SEGMENT_SLOTS - 1, SEGMENT_SLOTS + 2):
        journal.append(make_slot(batch))
    assert taken(journal) == [(batch, batch) for batch in range(SEGMENT_SLOTS + 2)]
    journal.close()


def test_disk_that_forgot_the_open_file_costs_no_record(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, disk_retry_s=60.0)
    journal.append(make_slot(0))
    assert taken(journal) == [(0, 0)]
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.close(journal._fd)  # ESTALE can't be had without NFS: every call on the descriptor fails
    journal.append(make_slot(1))
    os.dup2(nothing, journal._fd)
    os.close(nothing)
    journal._next_try = 0.0
    journal.append(make_slot(2))
    assert journal.unsaved() == 0
    assert taken(journal) == [(1, 1), (2, 2)]
    journal.close()


def test_file_that_cannot_be_read_now_is_read_later_and_before_what_is_in_memory(journal: Journal) -> None:
    journal.append(make_slot(0))
    assert taken(journal) == [(0, 0)]
    reader = journal._drain._reader
    assert reader is not None
    journal.append(make_slot(1))
    with full_disk(2 * SLOT_BYTES):
        journal.append(make_slot(2))
        folder = os.open("/", os.O_RDONLY)
        os.dup2(folder, reader._fd)  # EISDIR stands for a disk that fails
        os.close(folder)
        assert journal.read(10) == []
        assert taken(journal) == [(1, 1), (2, 2)]
    assert journal._faults.counts() == {}


def test_series_declared_on_a_full_disk_are_there_when_it_has_room(journal: Journal) -> None:
    journal.declare(MEANING)
    used = (folder_of(journal) / "series.jsonl").stat().st_size
    with full_disk(used + 20):
        assert journal.declare(MEANING._replace(name="val/loss")) == 1
        journal.append(make_slot(0))
        journal.tell("val/loss", {"finding": "mean"})
    journal.append(make_slot(1))
    assert [series.name for series in read_series(folder_of(journal)).values()] == ["train/loss", "val/loss"]
    assert taken(journal) == [(0, 0), (1, 1)]


def test_records_that_the_disk_took_in_part_are_read_once(journal: Journal) -> None:
    with full_disk(2 * SLOT_BYTES):
        for batch in range(4):
            journal.append(make_slot(batch))
    with full_disk(4 * SLOT_BYTES):
        journal.append(make_slot(4))
        assert journal.unsaved() == 3
        assert taken(journal) == [(batch, batch) for batch in range(5)]


def test_records_taken_from_memory_while_they_go_to_disk_are_read_once(journal: Journal) -> None:
    with full_disk(SLOT_BYTES):
        for batch in range(4):
            journal.append(make_slot(batch))
    assert journal.read(10) == list(read_records(folder_of(journal)))
    ring = journal._ring
    assert ring is not None

    class Racing(Ring):
        def take(self, limit: int, expected: int) -> list[Indexed]:
            journal.append(make_slot(4))  # another thread logs, and brings all back to disk
            return ring.take(limit, expected)

    assert [index for index, _ in journal._drain.take(2, Racing(0, 1))] == [1, 2]
    assert taken(journal) == [(3, 3), (4, 4)]


def test_folder_that_was_removed_is_made_again_and_costs_nothing(journal: Journal) -> None:
    journal.declare(MEANING)
    journal.append(make_slot(0))
    assert taken(journal) == [(0, 0)]
    journal.append(make_slot(1))
    shutil.rmtree(folder_of(journal))
    journal._start_ring(OSError(errno.ENOENT, "gone"))  # as the next segment would find out
    journal.append(make_slot(2))
    journal.append(make_slot(3))
    assert taken(journal) == [(1, 1), (2, 2), (3, 3)]
    assert read_manifest(folder_of(journal))["run"] == "A"
    assert read_series(folder_of(journal)) == {0: MEANING}


def test_offline_journal_keeps_space_free_and_counts_what_it_could_not_keep(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, online=False, keep_free_bytes=1 << 60)
    journal.append(make_slot(0))
    assert segment_numbers(folder_of(journal)) == []
    journal.end("finished")
    assert read_manifest(folder_of(journal))["dropped"] == {"journal-full": 1}
    journal.close()


def test_end_is_noted_on_a_disk_that_is_too_full_for_it(journal: Journal) -> None:
    with full_disk(10):
        journal.end("failed")
    assert read_manifest(folder_of(journal))["ended"] == "failed"
    assert not list(folder_of(journal).glob("*.new"))


def test_losses_are_noted_before_the_mark_that_hides_them(journal: Journal) -> None:
    for batch in range(3):
        journal.append(make_slot(batch))
    taken(journal)
    journal._faults.count("rejected", 2)
    journal.acknowledge(3)
    manifest = read_manifest(folder_of(journal))
    assert (manifest["dropped"], manifest["counted_to"]) == ({"rejected": 2}, 3)
