"""An HTTP server for tests that is silent on stderr and can cut an answer short or dawdle over it."""

import socket
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

TRICKLE_S = 0.05
SLOW_HEAD = b"HTTP/1.1 200 OK\r\n" + b"X-Slow: 1\r\n" * 90


class RudeServer(ThreadingHTTPServer):
    """Listens on this machine with one thread a connection."""

    daemon_threads = True

    def __init__(self, port: int, handler: type["RudeHandler"], **about: Any) -> None:
        super().__init__(("127.0.0.1", port), type("Handler", (handler,), about))
        self.port = int(self.server_address[1])
        self._connections: set[socket.socket] = set()

    def start(self) -> None:
        """Serve in a thread of its own."""
        Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Stop listening and cut every connection."""
        self.shutdown()
        for connection in list(self._connections):
            with suppress(OSError):  # it may be gone already
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that a test cut."""


class RudeHandler(BaseHTTPRequestHandler):
    """One connection; `is_over` ends what dawdles."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    is_over: Event

    def read_body(self) -> bytes:
        """Read what came with the request."""
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status: int, content: bytes, missing: int = 0, **headers: str) -> None:
        """Answer; where so many bytes are `missing` the connection is cut instead of them."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) + missing))
        self.end_headers()
        self.wfile.write(content)
        if missing:
            self.cut()

    def dawdle(self, content: bytes = b"") -> None:
        """Send a byte now and then, or nothing, until the test is over or the client is gone."""
        with suppress(OSError):
            for byte in content:
                if self.is_over.wait(TRICKLE_S):
                    break
                self.wfile.write(bytes([byte]))
            self.is_over.wait()
        self.cut()

    def cut(self) -> None:
        """Close the connection without another word."""
        self.close_connection = True
        with suppress(OSError):  # the client had enough
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *args: Any) -> None:
        """Print nothing."""
