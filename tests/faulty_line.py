"""What may lie between a client and a service: a line that forwards requests, and misbehaves when told."""

import http.client
import random
import threading

from rude_http import SLOW_HEAD, RudeHandler, RudeServer

SLOW_S = 5.0
FORWARD_TIMEOUT_S = 30.0
HOP_HEADERS = ("connection", "keep-alive", "transfer-encoding", "host")

# Of these the service gets the request, though the client hears nothing of use.
FORWARDED = ("pass", "slow", "cut", "truncated", "silent", "trickle")
FAULTS = ("500", "503", "429", "garbage", "foreign", "drop", "cut", "truncated")


class FaultyLine:
    """Forwards to a service on this machine as `mode` says, with `chance` per request; else faultlessly.

    pass · slow (each answer after SLOW_S) · a status · garbage · foreign (another service's 200) · drop
    (closed, not forwarded) · cut (forwarded, closed without an answer) · truncated · silent · trickle
    (a byte now and then) · any (one of FAULTS).
    """

    def __init__(self, port: int, *, seed: int = 0) -> None:
        self.mode = "pass"
        self.chance = 1.0
        self.slow_s = SLOW_S
        self.requests: dict[str, int] = {}  # by what became of them
        self.is_over = threading.Event()
        self._random = random.Random(seed)
        self._service_port = port
        self._server = RudeServer(0, _Handler, line=self, is_over=self.is_over)
        self.url = f"http://127.0.0.1:{self._server.port}"
        self._server.start()

    def choose(self) -> str:
        """Say what becomes of the next request."""
        mode = self.mode if self._random.random() < self.chance else "pass"
        mode = self._random.choice(FAULTS) if mode == "any" else mode
        self.requests[mode] = self.requests.get(mode, 0) + 1
        return mode

    def faults(self) -> int:
        """Count the requests that did not pass."""
        return sum(self.requests.values()) - self.requests.get("pass", 0)

    def forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Ask the service. Raises: OSError where it is not there."""
        connection = http.client.HTTPConnection("127.0.0.1", self._service_port, timeout=FORWARD_TIMEOUT_S)
        try:
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def stop(self) -> None:
        """Stop listening, and end every answer that is under way."""
        self.is_over.set()
        self._server.stop()


class _Handler(RudeHandler):
    line: FaultyLine

    def do_GET(self) -> None:  # noqa: N802 - a name of http.server
        body = self.read_body()
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_HEADERS}
        mode = self.line.choose()
        status, content = 200, b""
        if mode in FORWARDED:
            try:
                status, content = self.line.forward(self.command, self.path, headers, body)
            except (OSError, http.client.HTTPException):
                mode = "drop"
        self._misbehave(mode, status, content)

    do_PUT = do_POST = do_GET  # noqa: N815 - names of http.server

    def _misbehave(self, mode: str, status: int, content: bytes) -> None:
        if mode == "slow":
            self.line.is_over.wait(self.line.slow_s)
        if mode in ("pass", "slow"):
            self.answer(status, content)
        elif mode.isdecimal():
            self.answer(int(mode), b'{"detail": "a fault of the test"}')
        elif mode == "garbage":
            self.answer(200, bytes(range(256)))
        elif mode == "foreign":
            self.answer(200, b'{"stored": "x", "status": "ok"}')
        elif mode == "truncated":
            self.answer(status, content[:-1], missing=1)
        elif mode in ("silent", "trickle"):
            self.dawdle(SLOW_HEAD if mode == "trickle" else b"")
        else:
            self.cut()
