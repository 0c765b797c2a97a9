"""The walk over every route of the real application: what is open, and that failures have one shape."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Route
from starlette.testclient import TestClient

from lossboard_server.api.doors import CONTENT_SECURITY_POLICY, OPEN_PATHS
from lossboard_server.app import create_app
from lossboard_server.settings import Settings

BEARER = {"Authorization": "Bearer a-token-of-good-length"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    environ = {"LOSSBOARD_DIR": str(tmp_path), "LOSSBOARD_TOKEN": "a-token-of-good-length"}
    return create_app(Settings.resolve({}, environ))


@pytest.fixture
def caller(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app, base_url="http://127.0.0.1:8765", follow_redirects=False) as client:
        yield client


def walk(routes: list[BaseRoute]) -> Iterator[str]:
    """Yield the path of every route, those of included routers too."""
    for route in routes:
        if isinstance(route, APIRoute | Route):
            yield route.path
        else:
            inner = getattr(route, "original_router", None) or getattr(route, "app", None)
            assert inner is not None, f"the walk does not know how to look into {route!r}"
            yield from walk(inner.routes)


def fill(path: str) -> str:
    """Put something into a path's parameters."""
    for part in ("{run}", "{run_id}", "{epoch}", "{version}", "{name:path}"):
        path = path.replace(part, "1")
    assert "{" not in path, path
    return path


def test_the_walk_sees_the_routes_that_matter(app):
    paths = set(walk(app.routes))
    assert {"/", "/healthz", "/readyz", "/login", "/login-links", "/docs", "/openapi.json"} <= paths
    assert {"/api/v1/runs", "/api/v1/curves", "/api/v1/events"} <= paths
    assert set(app.openapi()["paths"]) <= paths


def test_without_a_token_only_health_and_login_answer(app, caller):
    answering = set()
    for path in walk(app.routes):
        for method in METHODS:
            answer = caller.request(method, fill(path))
            if answer.status_code != 401:
                answering.add(path)
            assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert answering | {"/login"} == OPEN_PATHS


def test_a_foreign_name_and_a_foreign_page_reach_no_route_at_all(app, caller):
    for path in walk(app.routes):
        for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
            for method in METHODS:
                answer = caller.request(method, fill(path), headers={**BEARER, **headers})
                assert answer.status_code == 403, (method, path)


def test_the_service_is_ready_when_its_database_answers(caller):
    assert caller.get("/readyz").json() == {"status": "ready"}


def test_no_route_of_fastapi_itself_loads_from_elsewhere(caller):
    for path in ("/docs", "/redoc", "/docs/oauth2-redirect"):
        assert "cdn" not in caller.get(path, headers=BEARER).text


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_wrong_method_is_a_problem(caller, method):
    answer = caller.request(method, "/healthz", headers=BEARER)
    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"
