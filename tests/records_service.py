"""A small real HTTP service that keeps the records contract and can misbehave, for tests of the client."""

import gzip
import json
import os
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from lossboard import wire
from lossboard.identity import started_ticks
from rude_http import SLOW_HEAD, RudeHandler, RudeServer

TOKEN = "a token of the tests, long enough"

Reply = tuple[int, dict[str, Any]]


class RecordsService:
    """Stores what is sent, exactly once by (run, writer) and index; `faults` are used up one a POST.

    A fault is a status, `foreign` (another service's 200), `forget-run`, or, once the request is
    committed, `close` (no answer), `garbage`, `truncated`, `trickle` (a byte now and then until the
    test ends) or `silent`. Rows whose loss is in `bad_losses` are refused, named or not.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self.token: str | None = TOKEN
        self.holds_token = True  # False: somebody else owns the port
        self.closes_after_proof = False
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
        self._server: RudeServer | None = None

    @property
    def url(self) -> str:
        """The address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> "RecordsService":
        """Listen, on the same port as before if there was one, and write the services file."""
        self.is_over.clear()
        self._server = RudeServer(self.port, _Handler, service=self, is_over=self.is_over)
        self.port = self._server.port
        self._server.start()
        self.tell()
        return self

    def stop(self) -> None:
        """Stop listening and cut every connection."""
        self.is_over.set()
        if self._server is not None:
            self._server.stop()
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


class _Handler(RudeHandler):
    service: RecordsService

    def do_GET(self) -> None:  # noqa: N802 - a name of http.server
        self.service.authorizations.append(self.headers.get("Authorization"))
        nonce = parse_qs(urlsplit(self.path).query).get("nonce", [""])[0]
        token = self.service.token if self.service.holds_token else "some other token"
        proof = json.dumps({"status": "ok", "proof": wire.prove(token or "", nonce)}).encode()
        self.answer(200, proof, **({"Connection": "close"} if self.service.closes_after_proof else {}))

    def do_PUT(self) -> None:  # noqa: N802 - a name of http.server
        body = self._read()
        if self._is_let_in():
            with self.service.lock:
                reply = self.service.put(self.path.split("/")[4], body)
            self._reply(*reply)

    def do_POST(self) -> None:  # noqa: N802 - a name of http.server
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
            self.cut()
        elif fault == "garbage":
            self.answer(200, b"<html>hello</html>")
        elif fault == "truncated":
            self.answer(reply[0], content[:-2], missing=2)
        elif fault in ("trickle", "silent"):
            self.dawdle(SLOW_HEAD if fault == "trickle" else b"")
        else:
            self._reply(*reply)

    def _is_let_in(self) -> bool:
        given = self.headers.get("Authorization")
        self.service.authorizations.append(given)
        if self.service.token in (None, (given or "").removeprefix("Bearer ")):
            return True
        self._reply(401, {"code": "unauthorized", "detail": "a token is needed"})
        return False

    def _read(self) -> Any:
        content = self.read_body()
        encoding = self.headers.get("Content-Encoding")
        self.service.encodings.append(encoding)
        return json.loads(gzip.decompress(content) if encoding == "gzip" else content)

    def _reply(self, status: int, body: dict[str, Any]) -> None:
        headers = self.service.headers if status >= 300 else {}
        self.answer(status, json.dumps(body).encode(), **headers)

    def setup(self) -> None:
        self.service.connections += 1
        super().setup()
