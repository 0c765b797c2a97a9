"""Real processes for tests and benchmarks: a service, a script, a browser; each is ended by its own pid."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

START_TIMEOUT_S = 30.0
REQUEST_TIMEOUT_S = 30.0
POLL_INTERVAL_S = 0.02
# No proxy: a proxy of the environment can't know this machine's loopback.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# As root in a container there is neither a sandbox nor a /dev/shm of some size, and no GPU.
BROWSER_FLAGS = ("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu")


def poll(look: Callable[[], T | None], what: str, *, timeout_s: float = START_TIMEOUT_S) -> T:
    """Call `look` until it returns something true, and return that.

    Raises: TimeoutError naming `what` was waited for.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(POLL_INTERVAL_S)
    raise TimeoutError(f"{what} did not come within {timeout_s:g} s")


def clean_environment(folder: Path, **more: str) -> dict[str, str]:
    """Return this environment with a LOSSBOARD_DIR of its own and nothing else of lossboard's."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("LOSSBOARD_", "PYTHON"))
    }
    return kept | {"LOSSBOARD_DIR": str(folder), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"} | more


class Service:
    """One `lossboard serve` process on a folder; it can be killed and started again on the same port."""

    def __init__(
        self,
        folder: Path,
        *,
        command: Sequence[str] = (sys.executable, "-m", "lossboard.cli"),
        cwd: Path | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.port = 0
        self.url = ""
        self.token = ""
        self._command = [*command, "serve", "--no-browser", *options]
        self._cwd = cwd or folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and not ended."""
        return self._process is not None

    @property
    def log(self) -> str:
        """What the service printed, over all its starts."""
        return (self.folder / "service.log").read_text(encoding="utf-8", errors="replace")

    def start(self) -> "Service":
        """Start it, on its former port if it had one, and wait until it answers."""
        self.begin()
        return self.wait()

    def begin(self) -> "Service":
        """Start it; `wait` for it before anything is asked."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "service.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, "--port", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._cwd,
                env=clean_environment(self.folder),
            )
        return self

    def wait(self) -> "Service":
        """Wait until it answers."""
        about = poll(self._read_services_file, "the service's address")
        self.url, self.port, self.token = about["url"], about["port"], about["token"] or ""
        poll(self._answers, "the service's first answer")
        return self

    def kill(self) -> None:
        """End it with signal 9, as the kernel does when memory runs out."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it with SIGTERM, with signal 9 if it takes longer than 10 s."""
        self._end(signal.SIGTERM)

    def ask_to_stop(self) -> None:
        """Send SIGTERM; `stop` waits for the end."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)

    def get(self, path: str) -> Any:
        """GET JSON with the token. Raises: urllib.error.HTTPError on any status of 400 and above."""
        return json.loads(self.fetch("GET", path))

    def send(self, method: str, path: str, body: object) -> Any:
        """Send JSON with the token and return the answer's."""
        return json.loads(self.fetch(method, path, json.dumps(body).encode()))

    def fetch(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """Ask with the token and return the answer's body."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data=body, method=method, headers=headers)
        with DIRECT.open(request, timeout=REQUEST_TIMEOUT_S) as answer:
            return bytes(answer.read())

    def login_link(self, path: str = "/") -> str:
        """Mint a one-time address that brings a browser to `path`."""
        query = urllib.parse.urlencode({"next": path})
        return str(json.loads(self.fetch("POST", f"/login-links?{query}"))["url"])

    def _read_services_file(self) -> dict[str, Any] | None:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"the service ended with {self._process.returncode}:\n{self.log}")
        for path in (self.folder / "services").glob("*.json"):
            try:
                about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            except FileNotFoundError:
                continue  # of a killed one: the new service has just taken it away
            if about["pid"] == self._process.pid:
                return about
        return None

    def _answers(self) -> bool:
        try:
            DIRECT.open(f"{self.url}/healthz", timeout=REQUEST_TIMEOUT_S).close()
        except (OSError, urllib.error.URLError):
            return False
        return True

    def _end(self, by: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(by)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def refuse_to_serve(
    folder: Path, *options: str, command: Sequence[str] = (sys.executable, "-m", "lossboard.cli")
) -> "subprocess.CompletedProcess[str]":
    """Start a service that can't be; return its exit code and what it said."""
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        [*command, "serve", "--no-browser", "--port", "0", *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=START_TIMEOUT_S,
        cwd=folder,
        env=clean_environment(folder),
    )


class Spares:
    """Services on empty folders, the next one started while a test has the one before.

    A third of what tests of the page took was their services' start and end.
    """

    def __init__(self, make_folder: Callable[[], Path]) -> None:
        self._make_folder = make_folder
        self._next: Service | None = None
        self._ending: list[Service] = []

    @contextmanager
    def take(self) -> Iterator[Service]:
        """A service that nobody has used, ended afterwards."""
        service = self._next or Service(self._make_folder()).begin()
        self._ending.append(service)
        self._next = None
        service.wait()
        self._next = Service(self._make_folder()).begin()
        yield service
        service.ask_to_stop()
        *before, last = self._ending
        for other in before:
            other.stop()
        self._ending = [last]

    def close(self) -> None:
        """End them all."""
        for service in (*self._ending, self._next):
            if service is not None:
                service.stop()


@contextmanager
def running_service(folder: Path, *options: str) -> Iterator[Service]:
    """A service on a folder, stopped at the end."""
    service = Service(folder, options=options)
    try:
        yield service.start()
    finally:
        service.stop()


def start_script(
    script: Path,
    folder: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    command: Sequence[str] = (sys.executable,),
) -> subprocess.Popen[str]:
    """Start a Python script that finds the service of `folder`; its output is piped."""
    return subprocess.Popen(
        [*command, str(script), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=script.parent,
        env=clean_environment(folder, **(environment or {})),
    )


def browser_options() -> dict[str, Any]:
    """Say how Playwright launches Chromium: an installed one, else Playwright's own."""
    installed = next(filter(None, map(shutil.which, BROWSERS)), None)
    return {"executable_path": installed, "args": list(BROWSER_FLAGS), "headless": True}
