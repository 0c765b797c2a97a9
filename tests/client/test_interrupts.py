"""Threads that log side by side, and Ctrl-C at any moment of a `log`: every record is there, or counted."""

from collections import Counter
from pathlib import Path

import pytest

from interpreters import run_script
from journals import ended, journalled
from lossboard.journal.reading import SEGMENT_SLOTS
from records_service import RecordsService

INTERRUPTED = """
import os, random, signal, sys, lossboard

class Interrupted(KeyboardInterrupt):
    pass

def interrupt(*_):
    raise Interrupted

run = lossboard.init(mode="offline", strict=True)
chance = random.Random({seed})
signal.signal(signal.SIGALRM, interrupt)
returned, torn = [], []
series = 0
for number in range(1000):
    batch = 0
    try:
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(2e-5, {latest}))
        while True:
            {log}
            returned.append((number, batch))
            batch += 1
    except Interrupted:
        torn.append((number, batch))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
run.finish()
print(len(torn), flush=True)
with open({out!r}, "w") as out:
    out.write(repr((returned, torn)))
"""

LOGS = {
    "plain": "run.log(number, batch, 1.0, 4)",
    "weighed": "run.log(number, batch, 1.0, 4, weight=3.0)",
    "series": "run.log(number, batch, 1.0, 4, series=f's {len(returned) % 97}', weight=1.0 + batch % 2)",
}


@pytest.mark.parametrize("kind", sorted(LOGS))
def test_interrupt_at_any_moment_of_log_loses_no_record_that_it_returned_for(
    state_folder: Path, tmp_path: Path, kind: str
) -> None:
    out = tmp_path / "out"
    script = INTERRUPTED.replace("{log}", LOGS[kind]).replace("{out!r}", repr(str(out)))
    done = run_script(script.replace("{seed}", "3").replace("{latest}", "4e-4"), timeout_s=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1000\n"
    returned, torn = eval(out.read_text())
    stored = Counter(journalled(state_folder, "epoch", "batch"))
    assert max(stored.values()) == 1
    assert stored.keys() >= set(returned)
    assert stored.keys() <= {*returned, *torn}  # the one that was being logged is there or not
    assert ended(state_folder) == ["finished"]


def test_interrupts_while_series_are_declared_never_mix_their_names(state_folder: Path) -> None:
    script = """
import random, signal, lossboard

is_armed = False
def interrupt(*_):
    if is_armed:
        raise KeyboardInterrupt

run = lossboard.init(mode="offline", strict=True)
chance = random.Random(5)
signal.signal(signal.SIGALRM, interrupt)
for number in range(400):
    try:
        is_armed = True
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-5, 2e-4))
        run.log(0, number, float(number), 4, series=f"series {number}")
        is_armed = False
    except KeyboardInterrupt:
        is_armed = False
    run.log(0, number, float(number), 4, series=f"series {number}")
run.finish()
"""
    done = run_script(script)
    assert done.returncode == 0, done.stderr
    records = journalled(state_folder, "series", "batch", "loss")
    assert {batch for _, batch, _ in records} == set(range(400))
    assert all(name == f"train/series {batch}" and loss == batch for name, batch, loss in records)


def test_handler_that_logs_while_series_are_declared_never_mixes_their_names(state_folder: Path) -> None:
    script = """
import signal, lossboard
run = lossboard.init(mode="offline", strict=True)
beats = 0
def beat(*_):
    global beats
    beat = beats
    beats += 1  # at once: the next signal may come within this very call
    run.log(1, beat, -1.0 - beat, 4, series=f"beat {beat}")
signal.signal(signal.SIGALRM, beat)
signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
number = 0
while beats < 100 and number < 300:
    run.log(0, number, float(number), 4, series=f"series {number}")
    number += 1
signal.setitimer(signal.ITIMER_REAL, 0)
run.finish()
print(number, beats)
"""
    done = run_script(script)
    assert done.returncode == 0, done.stderr
    number, beats = map(int, done.stdout.split())
    told = [(f"train/series {n}", float(n)) for n in range(number)]
    told += [(f"train/beat {n}", -1.0 - n) for n in range(beats)]
    assert sorted(journalled(state_folder, "series", "loss")) == sorted(told)


def test_threads_that_log_over_the_end_of_a_segment_lose_nothing(state_folder: Path) -> None:
    script = f"""
import sys, threading, lossboard
sys.setswitchinterval(1e-5)
run = lossboard.init(mode="offline", strict=True)
def work(epoch):
    for batch in range({SEGMENT_SLOTS // 4} + 500):
        run.log(epoch, batch, 1.0, 4)
threads = [threading.Thread(target=work, args=(epoch,)) for epoch in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
    done = run_script(script, timeout_s=90)
    assert done.returncode == 0, done.stderr
    each = SEGMENT_SLOTS // 4 + 500
    places = journalled(state_folder, "epoch", "batch")
    assert len(places) == 8 * each
    assert set(places) == {(epoch, batch) for epoch in range(8) for batch in range(each)}


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_finish_in_one_thread_while_others_log_accounts_for_every_record(
    service: RecordsService, state_folder: Path, mode: str
) -> None:
    script = f"""
import sys, threading, time, lossboard
sys.setswitchinterval(1e-5)
for number in range(20):
    run = lossboard.init(mode={mode!r}, name=f"run {{number}}", run=f"run-{{number}}")
    counts = [0] * 4
    is_over = False
    def work(thread):
        while not is_over:
            run.log(thread, counts[thread], 1.0, 4)
            counts[thread] += 1
    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.02)
    run.finish(deadline_s=20)
    is_over = True
    for thread in threads:
        thread.join()
    print(sum(counts), run._faults.counts().get("after-finish", 0))
"""
    done = run_script(script, timeout_s=120)
    assert done.returncode == 0, done.stderr
    counts = [list(map(int, line.split())) for line in done.stdout.splitlines()]
    logged, refused = (sum(column) for column in zip(*counts, strict=True))
    assert refused > 0
    kept = len(service.rows) if mode == "online" else len(journalled(state_folder, "batch"))
    assert kept + refused == logged


def test_script_s_own_stderr_and_log_handlers_may_fail_at_will(service: RecordsService) -> None:
    script = """
import logging, sys, lossboard
class Handler(logging.Handler):
    def emit(self, record):
        raise RuntimeError("a handler of the script")
class Tee:
    def write(self, text):
        return len(text)
logging.getLogger("lossboard").addHandler(Handler())
plain, sys.stderr = sys.stderr, Tee()
run = lossboard.init(run="R")
run.log(0, 0, 1.0, 4)
run.log(0, 1, "no number", 4)
run.log(0, 2, 1.0, 4)
run.finish()
run.log(0, 3, 1.0, 4)
sys.stderr = plain
"""
    done = run_script(script)
    assert done.returncode == 0, done.stderr
    assert service.column("batch") == [0, 2]
    assert [state for _, state in service.states][-1] == "finished"


def test_log_from_a_finaliser_while_the_interpreter_ends_does_not_raise() -> None:
    script = """
import logging, lossboard
run = lossboard.init(mode="offline")
class Last:
    def __del__(self):
        run.log(0, 0, 1.0, 4)
last = Last()
last.itself = last
lossboard.last = last  # so it outlives the modules
run.log(0, 1, 1.0, 4)
"""
    done = run_script(script)
    assert done.returncode == 0, done.stderr
    assert "Exception ignored" not in done.stderr


def test_signal_in_the_middle_of_log_loses_nothing(state_folder: Path) -> None:
    script = """
import signal, lossboard, sys
run = lossboard.init(mode="offline", strict=True)
beats = 0
def beat(*_):
    global beats
    run.log(1, beats, 1.0, 4)
    beats += 1
signal.signal(signal.SIGALRM, beat)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
for batch in range(70_000):
    run.log(0, batch, 1.0, 4)
signal.setitimer(signal.ITIMER_REAL, 0)
run.finish()
print(70_000 + beats)
"""
    done = run_script(script)
    assert done.returncode == 0, done.stderr
    assert len(journalled(state_folder, "batch")) == int(done.stdout)
