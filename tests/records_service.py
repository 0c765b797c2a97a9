"""A small real HTTP service that keeps the records contract and can misbehave, for tests of the client."""

import gzip
import json
import os
import socket
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lossboard import wire
from lossboard.identity import started_ticks

TOKEN = "a token of the tests, long enough"
TRICKLE_S = 0.05

Reply = tuple[int, dict[str, Any]]


class RecordsService:
    """Stores what is sent, exactly once by (run, writer) and index; `faults` are used up one a POST.

    A fault is a status, `foreign` (another service's 200), `forget-run`, or, once the request is
    committed, `close` (no answer), `garbage`, `truncated`, `trickle` (a byte every TRICKLE_S until the
    test ends) or `silent`. Rows whose loss is in `bad_losses` are refused, named or not.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.token: str | None = TOKEN
        self.holds_token = True  # False: somebody else owns the port
        self.faults: list[str] = []
        self.bad_losses: set[float] = set()
        self.names_rows = True
        self.headers: dict[str, str] = {}  # of answers that refuse
        self.puts: list[tuple[str, dict[str, Any]]] = []
        self.posts: list[dict[str, Any]] = []
        self.authorizations: list[str | None] = []
        self.encodings: list[str | None] = []
        self.connections = 0
        self.states: list[tuple[str, str]] = []
        self.dropped: dict[str, dict[str, int]] = {}
        self.rows: list[dict[str, Any]] = []
        self.next: dict[str, int] = {}
        self.duplicates = 0
        self.runs: set[str] = set()
        self.lock = threading.Lock()
        self.is_over = threading.Event()
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        """The address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "RecordsService":
        """Listen, on the same port as before if there was one, and write the services file."""
        self.is_over.clear()
        handler = type("Handler", (_Handler,), {"service": self})
        self._server = _Server(("127.0.0.1", self.port), handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.tell()
        return self

    def stop(self) -> None:
        """Stop listening and cut every connection."""
        self.is_over.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.cut_connections()
            self._server.server_close()
            self._server = None

    def tell(self, **changes: Any) -> Path:
        """Write the services file."""
        services = self.folder / "services"
        services.mkdir(parents=True, exist_ok=True)
        pid = os.getpid()
        entry = {"url": self.url, "host": "127.0.0.1", "port": self.port, "database": "", "token": self.token}
        entry |= {"pid": pid, "pid_started": started_ticks(pid), "started_unix_s": time.time()}
        path = services / f"{self.port}.json"
        path.write_text(json.dumps(entry | changes))
        path.chmod(0o600)
        return path

    def go_back(self, to: int) -> None:
        """Be as a backup was that had `to` records of each writer."""
        self.rows = [row for row in self.rows if row["index"] < to]
        self.next = dict.fromkeys(self.next, to)

    def column(self, key: str, **where: Any) -> list[Any]:
        """Return one key of the rows in the order of their writers and indices."""
        rows = sorted(self.rows, key=lambda row: (row["writer"], row["index"]))
        return [row.get(key) for row in rows if all(row.get(k) == v for k, v in where.items())]

    def put(self, run: str, body: dict[str, Any]) -> Reply:
        """Make a run."""
        self.puts.append((run, body))
        self.runs.add(run)
        return 200, {"run": run, "url": f"/?run={run}", "attempt": 0, "created": True}

    def post(self, run: str, body: dict[str, Any]) -> Reply:
        """Take columns, a heartbeat or the end."""
        if run not in self.runs:
            return 404, {"code": "run-not-found", "detail": "PUT it first"}
        if bad := self._bad_rows(body):
            errors = [{"field": field, "message": "bad"} for field in bad]
            return 422, {"code": "invalid", "detail": "bad"} | ({"errors": errors} if self.names_rows else {})
        self.posts.append(body)
        if "state" in body:
            self.states.append((body["writer"], body["state"]))
        self.dropped[body["writer"]] = body.get("dropped", {})
        before = self.next.get(body["writer"], 0)
        sent = [row for name, group in body.get("series", {}).items() for row in _rows(name, group)]
        new = [row | {"run": run, "writer": body["writer"]} for row in sent if row["index"] >= before]
        self.rows += new
        self.duplicates += len(sent) - len(new)
        self.next[body["writer"]] = max([before, *(row["index"] + 1 for row in new)])
        duplicates = len(sent) - len(new)
        return 200, {"stored": len(new), "duplicates": duplicates, "next": self.next[body["writer"]]}

    def _bad_rows(self, body: dict[str, Any]) -> list[str]:
        return [
            f"series.{name}.loss[{row}]"
            for name, group in body.get("series", {}).items()
            for row, loss in enumerate(group["loss"])
            if loss in self.bad_losses
        ]


def _rows(name: str, group: dict[str, Any]) -> list[dict[str, Any]]:
    columns = {key: group[key] for key in wire.COLUMN_KEYS if group.get(key) is not None}
    return [
        {"series": name} | dict(zip(columns, values, strict=True))
        for values in zip(*columns.values(), strict=True)
    ]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._connections: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def cut_connections(self) -> None:
        for connection in list(self._connections):
            with suppress(OSError):  # it may be gone already
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of connections that a test cut."""


class _Handler(BaseHTTPRequestHandler):
    service: RecordsService
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self.service.authorizations.append(self.headers.get("Authorization"))
        nonce = parse_qs(urlsplit(self.path).query).get("nonce", [""])[0]
        token = self.service.token if self.service.holds_token else "some other token"
        self._answer(200, {"status": "ok", "proof": wire.prove(token or "", nonce)})

    def do_PUT(self) -> None:
        body = self._read()
        if self._is_let_in():
            with self.service.lock:
                reply = self.service.put(self.path.split("/")[4], body)
            self._answer(*reply)

    def do_POST(self) -> None:
        body = self._read()
        if not self._is_let_in():
            return
        service = self.service
        with service.lock:
            fault = service.faults.pop(0) if service.faults else ""
            if fault == "forget-run":
                service.runs.clear()
            if fault.isdecimal():
                reply: Reply = int(fault), {"detail": "a fault of the test"}
            elif fault == "foreign":
                reply = 200, {"stored": "x", "next": None}
            else:
                reply = service.post(self.path.split("/")[4], body)
        content = json.dumps(reply[1]).encode()
        if fault == "close":
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif fault == "garbage":
            self._answer_bytes(200, b"<html>hello</html>")
        elif fault == "truncated":
            self._answer_bytes(reply[0], content[:-2], missing=2)
        elif fault in ("trickle", "silent"):
            self._dawdle(b"HTTP/1.1 200 OK\r\n" + b"X-Slow: 1\r\n" * 90 if fault == "trickle" else b"")
        else:
            self._answer_bytes(reply[0], content)

    def _dawdle(self, content: bytes) -> None:
        """Send a byte now and then, or nothing, until the test is over or the client is gone."""
        self.close_connection = True
        for byte in content:
            if self.service.is_over.wait(TRICKLE_S):
                return
            try:
                self.wfile.write(bytes([byte]))
            except OSError:
                return
        self.service.is_over.wait()

    def _is_let_in(self) -> bool:
        given = self.headers.get("Authorization")
        self.service.authorizations.append(given)
        if self.service.token in (None, (given or "").removeprefix("Bearer ")):
            return True
        self._answer(401, {"code": "unauthorized", "detail": "a token is needed"})
        return False

    def _read(self) -> Any:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        encoding = self.headers.get("Content-Encoding")
        self.service.encodings.append(encoding)
        return json.loads(gzip.decompress(content) if encoding == "gzip" else content)

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        self._answer_bytes(status, json.dumps(body).encode())

    def _answer_bytes(self, status: int, content: bytes, missing: int = 0) -> None:
        self.send_response(status)
        for name, value in self.service.headers.items() if status >= 300 else ():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content) + missing))
        self.end_headers()
        self.wfile.write(content)
        if missing:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def setup(self) -> None:
        self.service.connections += 1
        super().setup()

    def log_message(self, *args: Any) -> None:
        """Print nothing."""
