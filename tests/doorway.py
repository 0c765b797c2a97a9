"""A small app behind the real doors, for the tests of the service's doors, problems and health."""

from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from lossboard.wire import RecordError
from lossboard_server.api import docs, health, login, page
from lossboard_server.api.doors import install_doors
from lossboard_server.api.problems import install_problem_handlers
from lossboard_server.errors import Conflict
from lossboard_server.settings import Settings

TOKEN = "a-token-of-good-length"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
HOME = "http://127.0.0.1:8765"


class Codes:
    """One-time codes in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, float] = {}

    def put_code(self, code_hash: str, expires_unix_s: float) -> None:
        """Keep a code."""
        self.kept[code_hash] = expires_unix_s

    def take_code(self, code_hash: str, now: float) -> bool:
        """Use a code up."""
        return self.kept.pop(code_hash, 0.0) >= now


class SilentStore:
    """A store whose database is gone."""

    def ping(self) -> None:
        """Fail as a driver does."""
        raise OSError("/secret/path is gone")


def make_app(**given: str) -> FastAPI:
    """Put the doors around an app of a few routes."""
    given.setdefault("no_token", "false")
    environ = {"LOSSBOARD_TOKEN": TOKEN} if given["no_token"] == "false" else {}
    app = FastAPI(docs_url=None, redoc_url=None)
    for router in (health.router, login.router, page.router, docs.router):
        app.include_router(router)

    @app.get("/api/v1/things/{number}")
    def read_thing(number: int) -> dict[str, int]:
        return {"number": number}

    @app.post("/api/v1/things")
    def write_thing() -> dict[str, bool]:
        return {"written": True}

    @app.get("/api/v1/fail")
    def fail() -> None:
        raise RuntimeError("a secret of the inside")

    @app.get("/api/v1/conflict")
    def conflict() -> None:
        raise Conflict("It is there already.", headers={"Retry-After": "3"})

    @app.get("/api/v1/record")
    def record() -> None:
        raise RecordError("records[17].epoch", "is missing")

    app.state.codes = Codes()
    app.state.store = SilentStore()
    install_problem_handlers(app)
    install_doors(app, Settings.resolve(given, environ))
    return app


def visit(app: FastAPI, home: str = HOME) -> TestClient:
    """Make a caller without token and cookie."""
    return TestClient(app, base_url=home, follow_redirects=False)


def assert_is_problem(answer: Any, status: int, code: str) -> None:
    """Hold one failure to the one shape."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert {"type", "title", "status", "detail", "code", "request_id"} <= body.keys()
    assert body.keys() <= {"type", "title", "status", "detail", "code", "request_id", "errors"}
    assert (body["status"], body["code"]) == (status, code)
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["title"]
    assert body["detail"]
