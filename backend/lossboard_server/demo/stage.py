"""The demo's stage: a folder of its own and the processes that play on it, all gone at the end."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from lossboard_server import services
from lossboard_server.ports import direct

START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 2.0
POLL_INTERVAL_S: Final = 0.05
REQUEST_TIMEOUT_S: Final = 5.0
TAIL_LINES: Final = 20


class StageError(Exception):
    """Something on the stage could not start; the message says what it printed."""


class Stage:
    """A temporary LOSSBOARD_DIR and the child processes that use it.

    The folder is the demo's own, so that the demo shows nothing of the user's runs and a
    training that the user starts meanwhile does not find the demo's service.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="lossboard-demo-"))
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def start(self, name: str, arguments: list[str], environment: Mapping[str, str]) -> None:
        """Start Python with `arguments` as the child `name`; what it prints goes to its log."""
        with self.log_of(name).open("wb") as log:
            self._children[name] = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment(environment),
                # Ctrl-C is for the demo alone, which then ends its children without their tracebacks.
                start_new_session=True,
            )

    def log_of(self, name: str) -> Path:
        """Name the file that holds what a child printed."""
        return self.folder / f"{name}.log"

    def exit_code(self, name: str) -> int | None:
        """Tell how a child ended, None while it runs."""
        return self._children[name].poll()

    def tail(self, name: str, lines: int = TAIL_LINES) -> str:
        """Read the last lines of what a child printed."""
        text = self.log_of(name).read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.rstrip().splitlines()[-lines:])

    def clear(self) -> None:
        """End every child and remove the folder."""
        running = [child for child in self._children.values() if child.poll() is None]
        for child in running:
            child.terminate()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for child in running:
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _environment(self, more: Mapping[str, str]) -> dict[str, str]:
        # The user's own LOSSBOARD_… would send the demo's runs to the user's service.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LOSSBOARD_")}
        # One thread for each training: two of them with a thread for every core only wait for each other.
        kept.setdefault("OMP_NUM_THREADS", "1")
        return kept | {"LOSSBOARD_DIR": str(self.folder), "PYTHONUNBUFFERED": "1"} | dict(more)


class Service:
    """The stage's service, found by its services file and spoken to with its token."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        stage.start("service", ["-m", "lossboard.cli", "serve", "--port", "0", "--no-browser"], {})
        found = self._wait_until_up()
        self.url = found.url
        self._token = found.token

    def get(self, path: str) -> Any:
        """Ask the service for JSON. Raises: OSError when it can't be reached or refuses."""
        return self._ask("GET", path)

    def login_link(self, path: str) -> str:
        """Mint a one-time address that brings a browser to `path`."""
        return str(self._ask("POST", "/login-links?" + urllib.parse.urlencode({"next": path}))["url"])

    def _wait_until_up(self) -> services.Service:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            for found in services.live_services(self._stage.folder):
                with contextlib.suppress(OSError):  # not listening yet: asked again below
                    direct.open(f"{found.url}/healthz", timeout=REQUEST_TIMEOUT_S).close()
                    return found
            if self._stage.exit_code("service") is not None:
                break
            time.sleep(POLL_INTERVAL_S)
        raise StageError(f"the service did not start; it printed:\n{self._stage.tail('service')}")

    def _ask(self, method: str, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        request = urllib.request.Request(self.url + path, method=method, headers=headers)
        with direct.open(request, timeout=REQUEST_TIMEOUT_S) as answer:
            return json.load(answer)
