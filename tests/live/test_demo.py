"""`lossboard demo` as a person meets it: two real trainings, a page, and an end at once at Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

import lossboard_server.demo
from processes import clean_environment, poll

pytestmark = pytest.mark.live

TRAINING = Path(lossboard_server.demo.__file__).with_name("training.py")
FINISH_TIMEOUT_S = 90.0
CTRL_C_TIMEOUT_S = 3.0

StartDemo = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start_demo(tmp_path: Path) -> Iterator[StartDemo]:
    """Start the demo with its temporary folder below the test's; it is ended with signal 9 if need be."""
    started = []

    def start(*options: str) -> "subprocess.Popen[str]":
        with (tmp_path / "said").open("w") as said:
            demo = subprocess.Popen(
                [sys.executable, "-m", "lossboard.cli", "demo", "--no-browser", *options],
                stdout=said,
                stderr=subprocess.STDOUT,
                text=True,
                env=clean_environment(tmp_path / "users-own", TMPDIR=str(tmp_path)),
            )
        started.append(demo)
        return demo

    yield start
    for demo in started:
        if demo.poll() is None:
            demo.terminate()
            demo.wait()


def test_demo_shows_both_runs_and_ctrl_c_ends_everything_at_once(
    start_demo: StartDemo, browser: Browser, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    demo = start_demo("--epochs", "2")
    poll(lambda: "until Ctrl-C" in said.read_text(), "the end of the trainings", timeout_s=FINISH_TIMEOUT_S)
    children = children_of(demo.pid)
    assert children, "the service still runs"

    page = browser.new_page()
    page.goto(re.search(r"http://\S+/login\S+", said.read_text())[0])
    page.get_by_text("digits-batch-10").first.wait_for()
    page.get_by_text("digits-batch-20").first.wait_for()

    begin = time.monotonic()
    demo.send_signal(signal.SIGINT)
    assert demo.wait(CTRL_C_TIMEOUT_S) == 0, said.read_text()
    assert time.monotonic() - begin < CTRL_C_TIMEOUT_S
    assert not [pid for pid in children if is_alive(pid)]
    assert not list(tmp_path.glob("lossboard-demo-*"))
    assert not (tmp_path / "users-own").exists(), "the demo touched the user's own folder"


def test_demo_ends_by_itself_with_once(start_demo: StartDemo, tmp_path: Path) -> None:
    demo = start_demo("--once", "--epochs", "1")
    assert demo.wait(FINISH_TIMEOUT_S) == 0, (tmp_path / "said").read_text()
    said = (tmp_path / "said").read_text()
    assert re.search(r"digits-batch-10 +epoch = +0", said)
    assert re.search(r"digits-batch-20 +epoch = +0", said)


def test_script_of_the_demo_is_an_ordinary_loop_and_two_lines() -> None:
    code = TRAINING.read_text(encoding="utf-8").split('"""')[2]
    ours = [line.strip() for line in code.splitlines() if "lossboard" in line]
    assert ours == ["import lossboard", "lossboard.watch(loss_func, train_ldr)"]


def children_of(pid: int) -> list[int]:
    """List the living children of a process."""
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], stdout=subprocess.PIPE, text=True, check=False
    )
    return [int(line) for line in listed.stdout.split()]


def is_alive(pid: int) -> bool:
    """Tell whether a process is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
