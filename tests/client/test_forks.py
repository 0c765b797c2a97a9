"""Forks in real processes, at awkward moments: in a request, in a thread, with values still on their way."""

from collections.abc import Callable
from pathlib import Path

from interpreters import open_script, run_script
from journals import ended, journalled, journals
from records_service import RecordsService


def test_fork_in_the_middle_of_a_request_neither_hangs_nor_sends_twice(
    service: RecordsService, state_folder: Path, poll: Callable[..., None]
) -> None:
    script = """
import os, sys, lossboard
run = lossboard.init(run="R", strict=True)
run.log(0, 0, 1.0, 4)
sys.stdin.readline()
child = os.fork()
run.log(1 if child == 0 else 0, 1, 1.0, 4)
if child == 0:
    run.finish(deadline_s=0.2)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print("the child has ended", flush=True)
"""
    with open_script(script) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with service.lock:  # held: a request is in the service, and its answer does not come
            poll(lambda: service.authorizations)
            poll(lambda: len(service.authorizations) > 1)
            process.stdin.write("fork\n")
            process.stdin.flush()
            assert process.stdout.readline() == "the child has ended\n"
        assert process.wait(20) == 0
    assert sorted((row["epoch"], row["batch"]) for row in service.rows) == [(0, 0), (0, 1), (1, 1)]
    assert service.duplicates == 0
    assert journals(state_folder) == []


def test_fork_in_a_thread_goes_on_in_both(service: RecordsService, state_folder: Path) -> None:
    script = """
import os, threading, lossboard
run = lossboard.init(run="R", strict=True)
def work():
    child = os.fork()
    for batch in range(100):
        run.log(0 if child else 1, batch, 1.0, 4)
    if child:
        assert os.waitpid(child, 0)[1] == 0
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""
    done = run_script(script)
    assert done.returncode == 0, done.stderr
    places = sorted((row["epoch"], row["batch"]) for row in service.rows)
    assert places == sorted((epoch, batch) for epoch in range(2) for batch in range(100) for _ in range(3))
    assert journals(state_folder) == []


def test_threads_of_a_child_that_log_at_once_share_one_writer(state_folder: Path) -> None:
    script = """
import os, threading, lossboard
run = lossboard.init(mode="offline", strict=True)
child = os.fork()
if child == 0:
    start = threading.Barrier(8)
    def work(number):
        start.wait()
        for batch in range(100):
            run.log(number, batch, 1.0, 4, series=f"series {number % 2}")
    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.finish()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    done = run_script(script)
    assert done.returncode == 0, done.stderr
    assert "Error" not in done.stderr
    assert sorted(journalled(state_folder, "epoch", "batch")) == [
        (number, batch) for number in range(8) for batch in range(100)
    ]
    assert len(journals(state_folder)) == 2


def test_what_the_parent_lost_is_not_told_again_by_its_children(service: RecordsService) -> None:
    script = """
import os, lossboard
run = lossboard.init(run="R")
run.log(0, 0, 1.0, -1)
for batch in range(3):
    if os.fork() == 0:
        run.log(1, batch, 1.0, 4)
        run.finish()
        os._exit(0)
    os.wait()
run.log(0, 0, 1.0, 4)
"""
    done = run_script(script)
    assert done.returncode == 0, done.stderr
    assert sorted(map(str, service.dropped.values())) == ["{'refused-by-client': 1}"] + ["{}"] * 3


def test_child_of_a_watched_training_does_not_record_what_waits_in_its_parent(state_folder: Path) -> None:
    script = """
import os, lossboard, torch
from torch import nn
loss = nn.MSELoss()
run = lossboard.watch(loss, mode="offline", strict=True)
run.epoch = 0
step = torch.compile(lambda x: loss(x, torch.zeros(3)), backend="eager", fullgraph=True)
for _ in range(4):
    step(torch.ones(3, requires_grad=True)).backward()
child = os.fork()
if child == 0:
    step(torch.full((3,), 2.0, requires_grad=True)).backward()
    raise SystemExit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    done = run_script(script, timeout_s=60)
    assert done.returncode == 0, done.stderr
    assert sorted(journalled(state_folder, "loss")) == [1.0] * 4 + [4.0]


def test_nothing_is_imported_on_the_thread_that_sends(service: RecordsService) -> None:
    """A fork in the middle of an import would leave the module's lock held for ever in the child."""
    service.faults += ["500", "close", "422", "garbage"]
    script = """
import logging, sys, threading, time
imported = []
def hear(event, args):
    if event == "import" and threading.current_thread().name.startswith("lossboard"):
        imported.append(args[0])
sys.addaudithook(hear)
import lossboard
run = lossboard.init(run="R")
for batch in range(5):
    run.log(0, batch, 1.0, 4, series=f"series {batch}")
    time.sleep(0.1)
run.finish(deadline_s=20)
assert not imported, imported
"""
    done = run_script(script, timeout_s=60)
    assert done.returncode == 0, done.stderr
    assert service.faults == []


def test_forked_child_writes_a_journal_of_its_own(service: RecordsService) -> None:
    script = """
import os, time, lossboard
run = lossboard.init(run="A", strict=True)
for batch in range(100):
    run.log(0, batch, 1.0, 4)
child = os.fork()
for batch in range(100, 150):
    run.log(0 if child else 1, batch, 2.0 if child else 3.0, 4)
if child == 0:
    raise SystemExit(0)  # atexit runs in the child, too
_, status = os.waitpid(child, 0)
assert status == 0, status
run.finish()
"""
    done = run_script(script)
    assert done.returncode == 0, done.stderr
    assert service.column("batch", loss=1.0) == list(range(100))
    assert service.column("batch", loss=2.0) == list(range(100, 150))
    assert service.column("batch", loss=3.0) == list(range(100, 150))
    writers = {row["writer"] for row in service.rows if row["loss"] == 3.0}
    assert writers.isdisjoint(row["writer"] for row in service.rows if row["loss"] != 3.0)
    assert [state for _, state in service.states if state != "running"] == ["finished"]


def test_forks_while_the_sender_works_never_deadlock(service: RecordsService) -> None:
    script = """
import os, lossboard
run = lossboard.init(run="A", strict=True)
for batch in range(30):
    for n in range(200):
        run.log(0, batch * 200 + n, 1.0, 4)
    child = os.fork()
    if child == 0:
        run.log(1, batch, 2.0, 4)
        run.finish()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
run.finish(deadline_s=10)
"""
    done = run_script(script, timeout_s=60)
    assert done.returncode == 0, done.stderr
    assert service.column("batch", loss=1.0) == list(range(6000))
    assert sorted(service.column("batch", loss=2.0)) == list(range(30))


def test_child_that_never_logs_leaves_no_trace(state_folder: Path) -> None:
    script = """
import os, lossboard
run = lossboard.init(mode="offline", strict=True)
run.log(0, 0, 1.0, 4)
child = os.fork()
if child == 0:
    raise SystemExit(0)
os.waitpid(child, 0)
"""
    assert run_script(script).returncode == 0
    assert ended(state_folder) == ["finished"]


def test_what_short_lived_children_logged_is_there_when_their_parent_ends(
    service: RecordsService, state_folder: Path
) -> None:
    script = """
import os, lossboard
run = lossboard.init(run="R", strict=True)
for worker in range(3):
    if os.fork() == 0:
        for batch in range(10):
            run.log(0, batch, 1.0, 4, series=f"worker {worker}")
        os._exit(0)
for _ in range(3):
    os.wait()
run.log(0, 0, 1.0, 4)
"""
    done = run_script(script)
    assert done.returncode == 0, done.stderr
    assert len(service.rows) == 31
    assert journals(state_folder) == []
    assert [state for _, state in service.states][-1] == "finished"
