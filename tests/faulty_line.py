"""What may lie between a client and a service: a line that forwards requests, and misbehaves when told."""

import http.client
import random
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SLOW_S = 5.0
TRICKLE_S = 0.2
FORWARD_TIMEOUT_S = 30.0
HOP_HEADERS = ("connection", "keep-alive", "transfer-encoding", "host")

# Of these the service gets the request, though the client hears nothing of use.
FORWARDED = ("pass", "slow", "cut", "truncated", "silent", "trickle")
FAULTS = ("500", "503", "429", "garbage", "foreign", "drop", "cut", "truncated")


class FaultyLine:
    """Forwards to a service on this machine as `mode` says, with `chance` per request; else faultlessly.

    pass · slow (each answer after SLOW_S) · a status · garbage · foreign (another service's 200) · drop
    (closed, not forwarded) · cut (forwarded, closed without an answer) · truncated · silent · trickle
    (a byte every TRICKLE_S) · any (one of FAULTS).
    """

    def __init__(self, port: int, *, seed: int = 0) -> None:
        self.mode = "pass"
        self.chance = 1.0
        self.slow_s = SLOW_S
        self.requests: dict[str, int] = {}  # by what became of them
        self.is_over = threading.Event()
        self._random = random.Random(seed)
        self._service_port = port
        handler = type("Handler", (_Handler,), {"line": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

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
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that are gone."""


class _Handler(BaseHTTPRequestHandler):
    line: FaultyLine
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
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
            self._answer(status, content)
        elif mode.isdecimal():
            self._answer(int(mode), b'{"detail": "a fault of the test"}')
        elif mode == "garbage":
            self._answer(200, bytes(range(256)))
        elif mode == "foreign":
            self._answer(200, b'{"stored": "x", "status": "ok"}')
        elif mode == "truncated":
            self._answer(status, content[:-1], missing=1)
        else:
            self._leave(mode)

    def _answer(self, status: int, content: bytes, missing: int = 0) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) + missing))
        self.end_headers()
        self.wfile.write(content)
        if missing:
            self._close()

    def _leave(self, mode: str) -> None:
        if mode == "silent":
            self.line.is_over.wait()
        with suppress(OSError):  # the client had enough
            for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"1" * 10_000 if mode == "trickle" else b"":
                self.wfile.write(bytes([byte]))
                if self.line.is_over.wait(TRICKLE_S):
                    break
        self._close()

    def _close(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *args: Any) -> None:
        """Print nothing."""
