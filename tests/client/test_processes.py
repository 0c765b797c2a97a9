"""Real interpreters: what importing does, how they fork, and how they end with and without a service."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lossboard
from lossboard.journal.reading import read_manifest, read_records


def run_script(
    script: str, *, timeout_s: float = 30.0, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", script],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def test_public_names_are_complete_and_sorted() -> None:
    assert lossboard.__all__ == sorted(lossboard.__all__)
    assert set(lossboard.__all__) == {"Run", "__version__", "evaluate", "init", "watch"}
    assert all(hasattr(lossboard, name) for name in lossboard.__all__)


def test_import_loads_nothing_foreign_and_starts_nothing() -> None:
    script = """
import sys, threading
before = set(sys.modules)
opened = []
sys.addaudithook(lambda event, args: opened.append(args[0]) if event == "open" else None)
import os
environ, os.environ = os.environ, None
import lossboard
os.environ = environ
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
foreign = loaded - set(sys.stdlib_module_names) - {"lossboard"}
assert not foreign, foreign
assert threading.active_count() == 1
# Modules are read; files of anything else are not.
assert not [path for path in opened if not str(path).endswith((".py", ".pyc"))], opened
heavy = {"http", "json", "ssl", "logging", "socket", "asyncio", "dataclasses"} & loaded
assert not heavy, heavy
"""
    done = run_script(script)
    assert done.returncode == 0, done.stderr


def test_start_prints_one_line_with_the_address(service: Any) -> None:
    done = run_script("import lossboard\nrun = lossboard.init(run='A', name='otter')\nrun.log(0, 0, 1.0, 4)")
    assert done.stderr == f"lossboard: run otter at {service.url}/?run=A\n"
    assert service.column("loss") == [1.0]
    assert service.states[-1][1] == "finished"


def test_without_a_service_a_second_line_says_where_records_are() -> None:
    script = "import lossboard, time\nrun = lossboard.init()\nrun.log(0, 0, 1.0, 4)\ntime.sleep(3.4)"
    done = run_script(script)
    lines = done.stderr.splitlines()
    assert len(lines) == 2, lines
    assert "`lossboard serve` shows them" in lines[0]
    assert "1 record of" in lines[1]


def test_uncaught_exception_makes_the_run_failed(service: Any) -> None:
    done = run_script("import lossboard\nrun = lossboard.init()\nrun.log(0, 0, 1.0, 4)\nraise ValueError")
    assert "ValueError" in done.stderr
    assert service.states[-1][1] == "failed"


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
    delay = time.time() - float(done.stdout)
    assert delay < 4.5  # the deadline of 3 s, and an interpreter's end on a busy machine
    assert "1 record of" in done.stderr
    (folder,) = (state_folder / "journal").iterdir()
    assert len(list(read_records(folder))) == 1


def test_exit_without_any_service_is_not_held_up() -> None:
    done = run_script("import lossboard, time\nlossboard.init().log(0, 0, 1.0, 4)\nprint(time.time())")
    assert time.time() - float(done.stdout) < 2.0


def test_forked_child_writes_a_journal_of_its_own(service: Any) -> None:
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


def test_forks_while_the_sender_works_never_deadlock(service: Any) -> None:
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


def test_child_that_never_logs_leaves_no_trace(service: Any, state_folder: Path) -> None:
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
    (folder,) = (state_folder / "journal").iterdir()
    assert read_manifest(folder)["ended"] == "finished"


def test_killed_script_is_sent_by_the_next_one(service: Any, state_folder: Path) -> None:
    killed = """
import os, lossboard
run = lossboard.init(run="killed", mode="offline")
for batch in range(500):
    run.log(0, batch, 1.0, 4)
os.kill(os.getpid(), 9)
"""
    assert run_script(killed).returncode == -9
    following = "import lossboard, time\nrun = lossboard.init(run='next')\ntime.sleep(1)"
    assert run_script(following).returncode == 0
    assert service.column("batch", run="killed") == list(range(500))
    assert list((state_folder / "journal").iterdir()) == []


def test_host_process_is_left_as_it_was(service: Any) -> None:
    script = """
import logging, random, signal, sys, warnings
import lossboard
def look():
    signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    return (sys.excepthook, sys.unraisablehook, signals, random.getstate(),
            list(logging.root.handlers), logging.root.level, list(warnings.filters))
before = look()
run = lossboard.init(strict=True)
run.log(0, 0, 1.0, 4)
run.finish()
assert look() == before
"""
    done = run_script(script)
    assert done.returncode == 0, done.stderr


def test_signal_in_the_middle_of_log_loses_nothing(start_run: Callable[..., lossboard.Run]) -> None:
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
    (folder,) = (Path(os.environ["LOSSBOARD_DIR"]) / "journal").iterdir()
    records = [record for _, record in read_records(folder)]
    assert None not in records
    assert len(records) == int(done.stdout)


def test_runs_of_one_launch_have_ids_of_their_own() -> None:
    script = """
import lossboard
folds = [lossboard.init(name=f"fold {fold}", mode="offline").id for fold in range(3)]
assert folds == ["torchrun-job-0", "torchrun-job-0-2", "torchrun-job-0-3"], folds
"""
    launch = {"TORCHELASTIC_RUN_ID": "job", "TORCHELASTIC_RESTART_COUNT": "0", "RANK": "1", "WORLD_SIZE": "2"}
    done = run_script(script, **launch)
    assert done.returncode == 0, done.stderr


def test_run_starts_in_a_folder_that_is_gone(tmp_path: Path) -> None:
    script = """
import os, lossboard
os.mkdir("gone")
os.chdir("gone")
os.rmdir(os.getcwd())
run = lossboard.init(mode="offline", strict=True)
run.log(0, 0, 1.0, 4)
"""
    done = run_script(f"import os; os.chdir({str(tmp_path)!r})\n{script}")
    assert done.returncode == 0, done.stderr


def test_what_short_lived_children_logged_is_there_when_their_parent_ends(
    service: Any, state_folder: Path
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
    assert list((state_folder / "journal").iterdir()) == []
    assert [state for _, state in service.states][-1] == "finished"
