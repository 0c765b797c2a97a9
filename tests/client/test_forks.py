"""Forks in real processes, at awkward moments: in a request, in a thread, with values still on their way."""

from collections.abc import Callable
from pathlib import Path

from interpreters import journalled, journals, run_script, start_script
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
    with start_script(script) as process:
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
