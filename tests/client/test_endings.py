"""How scripts end in real interpreters: what state their runs get, and that nothing is held up or lost."""

import os
import signal
from pathlib import Path

import pytest

from interpreters import exit_delay_s, open_script, run_script
from journals import ended, journalled, journals
from records_service import RecordsService


@pytest.mark.parametrize(
    ("script", "states"),
    [
        ("run.log(0, 0, 1.0, 4)", ["finished"]),
        ("raise ValueError", ["failed"]),
        ("raise KeyboardInterrupt", ["failed"]),
        ("try:\n    raise ValueError\nexcept ValueError:\n    pass", ["finished"]),
        # An exit by sys.exit leaves no error behind that could be seen at exit, whatever its code.
        ("sys.exit(1)", ["finished"]),
        ("with run:\n    sys.exit()", ["finished"]),
        ("with run:\n    sys.exit(0)", ["finished"]),
        ("with run:\n    sys.exit(1)", ["failed"]),
        ("with run:\n    sys.exit('no data')", ["failed"]),
        ("with run:\n    raise KeyboardInterrupt", ["failed"]),
        ("try:\n    with run:\n        raise ValueError\nexcept ValueError:\n    pass", ["failed"]),
        ("run.finish()\nraise ValueError", ["finished"]),
        ("with run:\n    other = start()\nraise ValueError", ["finished", "failed"]),
        # The errors of a prompt: where sys.last_value stands, or sys.last_exc of Python 3.12.
        ("sys.last_value = ValueError()", ["failed"]),
        ("sys.last_exc = ValueError()", ["failed"]),
        ("run.finish()\nsys.last_value = ValueError()\nstart(name='next')", ["finished", "finished"]),
        ("sys.last_value = ValueError()\nstart(name='next')", ["failed", "finished"]),
        ("sys.last_value = ValueError()\nstart()", ["failed", "finished"]),
    ],
)
def test_state_says_how_the_run_ended(state_folder: Path, script: str, states: list[str]) -> None:
    start = "import sys, lossboard\ndef start(**common):\n"
    start += "    return lossboard.init(mode='offline', strict=True, **common)\nrun = start()\n"
    run_script(start + script)
    assert ended(state_folder) == states


def test_error_of_an_earlier_cell_is_not_the_next_runs(state_folder: Path) -> None:
    """Not even where Python gives a new error the place in memory of an old one."""
    script = """
import code, sys
console = code.InteractiveConsole()
def cell(source):
    console.runsource(source, symbol="exec")
cell("import lossboard")
cell("1 / 0")
for number in range(20):
    cell(f"run = lossboard.init(mode='offline', name='run {number}', strict=True)")
    cell("run.log(0, 0, 1.0, 4)")
    if number % 2:
        cell("1 / 0")
        cell("run.finish('failed' if False else 'finished')")
    else:
        cell("run.finish()")
cell("run = lossboard.init(mode='offline', name='last', strict=True)")
cell("int('x')")
"""
    done = run_script(script)
    assert "ValueError" in done.stderr
    assert ended(state_folder) == ["finished"] * 20 + ["failed"]


def test_cell_that_runs_twice_leaves_no_run_open(service: RecordsService, state_folder: Path) -> None:
    script = """
import code
console = code.InteractiveConsole()
cell = '''
import lossboard
run = lossboard.init(project="p", strict=True)
for batch in range(3):
    run.log(0, batch, 1.0, 4)
    if batch == 1 and STOP:
        raise KeyboardInterrupt
'''
for stops in (False, True, False):
    try:
        console.runsource(f"STOP = {stops}")
        console.runsource(cell, symbol="exec")
    except KeyboardInterrupt as error:  # as IPython does
        import sys
        sys.last_value = error
"""
    done = run_script(script)
    assert done.returncode == 0, done.stderr
    assert [state for _, state in service.states if state != "running"] == ["finished", "failed", "finished"]
    assert len(service.rows) == 8
    assert journals(state_folder) == []


def test_cells_of_a_real_ipython_end_their_runs(state_folder: Path) -> None:
    pytest.importorskip("IPython")
    script = """
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_cell("import lossboard; 1 / 0")
for _ in range(2):
    shell.run_cell("run = lossboard.init(mode='offline', strict=True); run.log(0, 0, 1.0, 4)")
shell.run_cell("for batch in range(9):\\n    run.log(0, batch, 1.0, 4)\\n    raise KeyboardInterrupt")
shell.run_cell("run = lossboard.init(mode='offline', strict=True)")
"""
    done = run_script(script, IPYTHONDIR=str(state_folder / "ipython"))
    assert done.returncode == 0, done.stderr
    assert ended(state_folder) == ["finished", "failed", "finished"]


def test_nested_runs_keep_their_records_apart(state_folder: Path) -> None:
    script = """
import lossboard
with lossboard.init(mode="offline", strict=True) as outer:
    outer.log(0, 0, 1.0, 4)
    with lossboard.init(mode="offline", strict=True) as inner:
        inner.log(0, 0, 2.0, 4)
        outer.log(0, 1, 1.0, 4)
    outer.log(0, 2, 1.0, 4)
"""
    done = run_script(script)
    assert done.returncode == 0, done.stderr
    assert sorted(journalled(state_folder, "loss", "batch")) == [(1.0, 0), (1.0, 1), (1.0, 2), (2.0, 0)]
    assert ended(state_folder) == ["finished", "finished"]


@pytest.mark.parametrize(
    "leave", ["os._exit(0)", "os.abort()", "os.kill(os.getpid(), 15)", "os.kill(os.getpid(), 9)"]
)
def test_process_that_is_gone_right_after_log_has_logged(
    service: RecordsService, state_folder: Path, leave: str
) -> None:
    script = f"""
import os, lossboard
run = lossboard.init(run="gone", mode="offline", strict=True)
for batch in range(1000):
    run.log(0, batch, 1.0, 4)
{leave}
"""
    run_script(script)
    assert journalled(state_folder, "batch") == list(range(1000))
    run_script("import lossboard, time\nrun = lossboard.init(run='next')\ntime.sleep(1)")
    assert service.column("batch", run="gone") == list(range(1000))
    assert journals(state_folder) == []


SHUTDOWN = """
import sys, threading, time, lossboard
run = lossboard.init()

class Last:
    def __del__(self):
        run.log(0, 0, 3.0, 4)

def go_on():
    batch = 0
    while True:
        run.log(1, batch, 2.0, 4)
        batch += 1

def generate():
    try:
        while True:
            run.log(2, 0, 1.0, 4)
            yield
    finally:
        run.log(2, 1, 1.0, 4)

last, steps = Last(), generate()
next(steps)
sys.keep = last, steps
for _ in range(2):
    threading.Thread(target=go_on, daemon=True).start()
time.sleep(0.2)
print(time.time())
"""


@pytest.mark.parametrize("is_there", [True, False])
def test_threads_generators_and_finalisers_that_log_to_the_very_end_hold_nothing_up(
    absent_service: RecordsService, is_there: bool
) -> None:
    if is_there:
        absent_service.start()
    for _ in range(3):
        done = run_script(SHUTDOWN)
        assert done.returncode == 0, done.stderr
        assert exit_delay_s(done) < 4.5
        assert "Traceback" not in done.stderr


def test_first_record_of_all_at_exit_is_kept(state_folder: Path) -> None:
    script = """
import atexit, lossboard
atexit.register(lambda: lossboard.init(mode="offline", strict=True).log(0, 0, 1.0, 4))
"""
    done = run_script(script)
    assert done.returncode == 0, done.stderr
    assert journalled(state_folder, "loss") == [1.0]


def test_process_that_may_have_no_more_threads_still_logs(state_folder: Path) -> None:
    script = """
import threading
threading.stack_size(1 << 46)  # no thread can be started any more
import lossboard
run = lossboard.init()
for batch in range(100):
    run.log(0, batch, 1.0, 4)
run.finish()
"""
    done = run_script(script)
    assert done.returncode == 0, done.stderr
    assert journalled(state_folder, "batch") == list(range(100))


def test_interrupt_from_the_keyboard_ends_a_training_as_ever(state_folder: Path) -> None:
    script = """
import lossboard
run = lossboard.init(mode="offline", strict=True)
print("begun", flush=True)
batch = 0
while True:
    run.log(0, batch, 1.0, 4)
    batch += 1
"""
    with open_script(script) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(20) == -signal.SIGINT
    batches = journalled(state_folder, "batch")
    assert batches == list(range(len(batches)))
    assert ended(state_folder) == ["failed"]


def test_exit_with_a_service_that_never_answers_takes_at_most_the_deadline(state_folder: Path) -> None:
    script = """
import socket, sys, time, lossboard
deaf = socket.create_server(("127.0.0.1", 0))
run = lossboard.init(url="http://127.0.0.1:%d" % deaf.getsockname()[1], token="x" * 20)
run.log(0, 0, 1.0, 4)
time.sleep(0.3)
print(time.time())
"""
    done = run_script(script)
    assert exit_delay_s(done) < 4.5  # the deadline of 3 s, and an interpreter's end on a busy machine
    assert "1 record of" in done.stderr
    assert journalled(state_folder, "batch") == [0]


def test_exit_without_any_service_is_not_held_up() -> None:
    done = run_script("import lossboard, time\nlossboard.init().log(0, 0, 1.0, 4)\nprint(time.time())")
    assert exit_delay_s(done) < 2.0
