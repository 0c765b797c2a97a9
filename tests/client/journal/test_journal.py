"""The writer's folder: appended by threads, read by anybody, bounded, and whole after a kill."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from journals import MEANING, make_slot
from lossboard.faults import Faults
from lossboard.journal.journal import Bounds, Journal
from lossboard.journal.locks import take_lock
from lossboard.journal.reading import (
    SEGMENT_BYTES,
    SEGMENT_SLOTS,
    read_acked,
    read_manifest,
    read_records,
    read_series,
    segment_numbers,
    segment_path,
)
from lossboard.journal.slots import SLOT_BYTES


def open_journal(root: Path, *, strict: bool = True, **bounds: Any) -> Journal:
    return Journal(root, {"run": "A"}, Faults(strict=strict), bounds=Bounds(**bounds))


def folder_of(journal: Journal) -> Path:
    assert journal.folder is not None
    return journal.folder


def batches(folder: Path, start: int = 0) -> list[int | None]:
    return [record and record.batch for _, record in read_records(folder, start)]


def test_appended_records_are_read_in_order_by_index(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    for batch in range(5):
        journal.append(make_slot(batch))
    assert [(index, record and record.batch) for index, record in read_records(folder_of(journal), 2)] == [
        (2, 2),
        (3, 3),
        (4, 4),
    ]
    journal.close()


def test_folder_holds_what_a_stranger_needs_to_send_it(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    assert journal.declare(MEANING) == 0
    assert journal.declare(MEANING._replace(name="val/loss")) == 1
    folder = folder_of(journal)
    assert read_manifest(folder) == {"format": 2, "writer": journal.writer, "run": "A"}
    assert read_series(folder) == {0: MEANING, 1: MEANING._replace(name="val/loss")}
    assert {path.name for path in folder.iterdir()} == {"run.json", "series.jsonl", "000000.seg", "lock"}
    journal.end("failed")
    assert read_manifest(folder)["ended"] == "failed"
    journal.close()


def test_records_run_on_over_segments(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    count = 2 * SEGMENT_SLOTS + 3
    for batch in range(count):
        journal.append(make_slot(batch))
    folder = folder_of(journal)
    assert segment_numbers(folder) == [0, 1, 2]
    assert segment_path(folder, 0).stat().st_size == SEGMENT_BYTES
    assert batches(folder) == list(range(count))
    assert journal.pending() == count
    journal.close()


def test_torn_tail_is_not_there_yet(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.append(make_slot(0))
    with segment_path(folder_of(journal), 0).open("ab") as segment:
        segment.write(make_slot(1)[:40])
    assert batches(folder_of(journal)) == [0]
    journal.close()


def test_damaged_slot_costs_itself_only(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    for batch in range(3):
        journal.append(make_slot(batch))
    with segment_path(folder_of(journal), 0).open("r+b") as segment:
        segment.seek(SLOT_BYTES + 20)
        segment.write(b"\xff")
    assert batches(folder_of(journal)) == [0, None, 2]
    journal.close()


def test_torn_line_of_series_is_cut(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.declare(MEANING)
    with (folder_of(journal) / "series.jsonl").open("ab") as lines:
        lines.write(b'{"number": 1, "ser')
    assert read_series(folder_of(journal)) == {0: MEANING}
    journal.close()


def test_acknowledged_segments_are_unlinked_whole(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    for batch in range(SEGMENT_SLOTS + 10):
        journal.append(make_slot(batch))
    folder = folder_of(journal)
    journal.acknowledge(SEGMENT_SLOTS - 1)
    assert segment_numbers(folder) == [0, 1]
    journal.acknowledge(SEGMENT_SLOTS)
    assert segment_numbers(folder) == [1]
    assert read_acked(folder) == SEGMENT_SLOTS
    assert batches(folder, read_acked(folder)) == list(range(SEGMENT_SLOTS, SEGMENT_SLOTS + 10))
    journal.acknowledge(SEGMENT_SLOTS + 10)
    journal.close(remove=True)
    assert not folder.exists()


def test_bound_drops_the_oldest_segment_and_counts_its_records(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, max_segments=2)
    for batch in range(3 * SEGMENT_SLOTS + 1):
        journal.append(make_slot(batch))
    assert segment_numbers(folder_of(journal)) == [2, 3]
    first = journal.read(1)
    assert first[0][0] == 2 * SEGMENT_SLOTS
    assert journal._faults.counts() == {"journal-full": 2 * SEGMENT_SLOTS}
    journal.close()


def test_several_threads_append_whole_records(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    each = SEGMENT_SLOTS // 4 + 100
    threads = [
        threading.Thread(target=lambda n=n: [journal.append(make_slot(n * each + i)) for i in range(each)])
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = batches(folder_of(journal))
    assert None not in found
    assert sorted(found) == list(range(4 * each))  # type: ignore[type-var]
    assert segment_path(folder_of(journal), 0).stat().st_size == SEGMENT_BYTES
    journal.close()


def test_reader_follows_a_writer_without_skipping(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    count = SEGMENT_SLOTS + 5_000
    thread = threading.Thread(target=lambda: [journal.append(make_slot(i)) for i in range(count)])
    thread.start()
    seen: list[int] = []
    while len(seen) < count:
        seen += [index for index, record in journal.read(5_000) if record is not None]
        assert thread.is_alive() or len(seen) == count or journal.pending()
    thread.join()
    assert seen == list(range(count))
    journal.close()


def test_folder_is_locked_while_its_writer_lives(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    lock = folder_of(journal) / "lock"
    assert take_lock(lock) is None
    journal.close()
    taken = take_lock(lock)
    assert taken is not None
    assert taken.is_held
    taken.release()


def test_every_log_that_returned_is_in_the_journal_after_kill_9(tmp_path: Path) -> None:
    script = """
import os, sys, lossboard
run = lossboard.init(mode="offline", strict=True)
batch = 0
while True:
    run.log(0, batch, float(batch), 4)
    os.write(1, b"%d\\n" % batch)
    batch += 1
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    returned = -1
    for line in process.stdout:
        returned = int(line)
        if returned == 3_000:
            process.send_signal(signal.SIGKILL)
            break
    rest = process.stdout.read().split(b"\n")
    returned = max([returned, *(int(line) for line in rest[:-1] if line)])
    process.wait()
    process.stdout.close()
    (folder,) = (tmp_path / "state" / "journal").iterdir()
    found = batches(folder)
    assert found[: returned + 1] == list(range(returned + 1))
    assert len(found) <= returned + 2
    assert json.loads((folder / "run.json").read_text())["pid"] == process.pid


def test_append_that_hangs_on_a_slow_disk_holds_up_neither_sender_nor_exit(
    tmp_path: Path, poll: Callable[..., None]
) -> None:
    journal = open_journal(tmp_path, strict=False)
    journal.append(make_slot(0))
    segment = os.dup(journal._fd)
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    while True:  # a pipe that nobody reads stands for a disk that takes nothing
        try:
            os.write(write_end, bytes(4096))
        except BlockingIOError:
            break
    os.set_blocking(write_end, True)
    os.dup2(write_end, journal._fd)
    hanging = threading.Thread(target=lambda: journal.append(make_slot(1)), daemon=True)
    hanging.start()
    poll(lambda: not journal._lock.acquire(blocking=False) or journal._lock.release())
    assert [index for index, _ in journal.read(10)] == [0]
    journal.acknowledge(1)
    journal.pending()
    journal.end("finished")
    journal.close()
    assert hanging.is_alive()
    for fd in (read_end, write_end):
        os.close(fd)  # the disk fails for good: EPIPE
    os.dup2(segment, journal._fd)
    os.close(segment)
    hanging.join(5.0)
    assert not hanging.is_alive()
    journal.close()
