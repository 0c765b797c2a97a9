"""`lossboard serve` as a real process: what it says, what it leaves behind, and how fast it ends."""

import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from processes import clean_environment, poll

pytestmark = pytest.mark.live

# It takes 0.6 s; a loaded machine gets more. A stream that is not ended shows below by what is printed.
STOP_LIMIT_S = 5.0
Start = Callable[..., "Process"]


class Process:
    """One `lossboard serve` on a folder, whose output is read line by line."""

    def __init__(self, folder: Path, *options: str, **environment: str) -> None:
        self.folder = folder
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "lossboard.cli", "serve", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=clean_environment(folder, **environment),
            # A suite that was started by nohup would hand on its ignored SIGHUP.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_until_ready(self) -> "Process":
        """Wait for its last line at start."""
        poll(lambda: "Ctrl-C ends it." in self.lines or self.popen.poll() is not None, "the last line")
        assert self.popen.poll() is None, self.text
        return self

    @property
    def text(self) -> str:
        """What it has printed so far."""
        return "\n".join(self.lines)

    @property
    def about(self) -> dict:
        """What its services file says."""
        (path,) = (self.folder / "services").glob("*.json")
        return json.loads(path.read_text())

    def end(self, by: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Send a signal; return the exit code and the seconds until it was gone."""
        begun = time.monotonic()
        self.popen.send_signal(by)
        code = self.popen.wait(20)
        return code, time.monotonic() - begun

    def close(self) -> None:
        """Make sure that nothing is left of it."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        with self.popen.stdout as output:
            for line in output:
                self.lines.append(line.rstrip("\n"))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[Process] = []

    def start(*options: str, folder: Path = tmp_path / "state", **environment: str) -> Process:
        process = Process(folder, *(options or ("--port", "0")), **environment)
        started.append(process)
        return process

    yield start
    for process in started:
        process.close()


def test_serve_says_where_it_is_and_its_link_works(start):
    process = start().wait_until_ready()
    url = process.about["url"]
    assert f"serves on {url}" in process.lines[0]
    link = re.search(r"http://\S+/login\?code=\S+", process.text)
    assert link is not None
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with browser.open(link[0]) as page:
        assert page.status == 200
        assert page.url == f"{url}/"
    assert process.about["token"] not in process.text


def test_the_services_file_is_private_while_it_runs_and_gone_when_it_has_ended(start):
    process = start().wait_until_ready()
    (path,) = (process.folder / "services").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert process.about["pid"] == process.popen.pid
    assert process.about["token"] == (process.folder / "token").read_text().strip()
    assert stat.S_IMODE((process.folder / "lossboard.db").stat().st_mode) == 0o600
    assert process.end()[0] == 0
    assert list((process.folder / "services").iterdir()) == []


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda by: by.name)
def test_a_signal_ends_it_at_once_and_in_good_order_though_a_page_is_open(start, by):
    process = start().wait_until_ready()
    stream = http.client.HTTPConnection("127.0.0.1", process.about["port"], timeout=10)
    with closing(stream):
        headers = {"Authorization": f"Bearer {process.about['token']}"}
        stream.request("GET", "/api/v1/events", headers=headers)
        answer = stream.getresponse()
        assert answer.status == 200
        assert answer.readline()  # open and begun
        code, took_s = process.end(by)
        answer.read()  # raises where the stream was cut instead of ended
    assert code == 0
    assert took_s < STOP_LIMIT_S
    process.close()
    assert process.lines[-1] == "Ctrl-C ends it."  # no traceback, and uvicorn had no stream to cancel
    assert list((process.folder / "services").iterdir()) == []


def test_a_killed_service_leaves_a_file_that_the_next_one_clears_away(start):
    first = start().wait_until_ready()
    left = first.about["port"]
    first.end(signal.SIGKILL)
    assert (first.folder / "services" / f"{left}.json").exists()
    second = start().wait_until_ready()
    assert second.about["pid"] == second.popen.pid


def test_the_token_and_so_the_cookie_survive_a_restart(start):
    first = start().wait_until_ready()
    token = first.about["token"]
    first.end()
    assert start().wait_until_ready().about["token"] == token


def test_a_busy_port_is_told_before_anything_is_opened(start, tmp_path):
    running = start().wait_until_ready()
    port = running.about["port"]
    second = start("--port", str(port), folder=tmp_path / "other")
    assert second.popen.wait(20) == 2
    second.close()
    assert "A Lossboard" in second.text
    assert f"already serves on http://127.0.0.1:{port}" in second.text
    assert "lossboard serve --port " in second.text
    assert "Traceback" not in second.text
    assert not (tmp_path / "other").exists()


def test_a_port_held_by_another_program_names_it(start):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        process = start("--port", str(other.getsockname()[1]))
        assert process.popen.wait(20) == 2
        process.close()
    assert "is taken" in process.text
    if sys.platform == "linux":
        assert f"(pid {os.getpid()})" in process.text


def test_without_a_token_the_page_is_open_and_said_to_be(start):
    process = start("--port", "0", "--no-token").wait_until_ready()
    assert "No token" in process.text
    assert "/login" not in process.text
    assert process.about["token"] is None
    assert not (process.folder / "token").exists()
    with urllib.request.urlopen(f"{process.about['url']}/api/v1/runs") as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("options", "environment", "said"),
    [
        (["--no-token", "--host", "0.0.0.0"], {}, "loopback only"),
        (["--port", "0"], {"LOSSBOARD_TOKEN": "short"}, "16 or more"),
        (["--port", "0", "--database", "no url"], {}, "--database"),
        (["--port", "0", "--database", "sqlite:////proc/none/x.db"], {}, "--database"),
        (["--port", "x"], {}, "port"),
    ],
    ids=["no-token", "token", "url", "file", "port"],
)
def test_a_start_that_can_not_be_is_one_clear_line_and_exit_code_2(start, options, environment, said):
    process = start(*options, **environment)
    assert process.popen.wait(20) == 2
    process.close()
    assert said in process.text
    assert len(process.lines) == 1


def test_a_database_of_a_later_release_is_refused_with_what_to_do(start):
    process = start().wait_until_ready()
    process.end()
    with closing(sqlite3.connect(process.folder / "lossboard.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    again = start()
    assert again.popen.wait(20) == 2
    again.close()
    assert "Upgrade Lossboard" in again.text


def test_small_answers_are_not_held_back_by_nagle(start):
    process = start().wait_until_ready()
    connection = http.client.HTTPConnection("127.0.0.1", process.about["port"], timeout=10)
    fastest_s = 1.0
    with closing(connection):
        for _ in range(10):
            begun = time.monotonic()
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            fastest_s = min(fastest_s, time.monotonic() - begun)
    assert fastest_s < 0.03  # with Nagle's algorithm each waits 0.04 s for a delayed acknowledgement
