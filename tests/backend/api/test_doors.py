"""The doors: names, origins, token, cookie and the headers on every answer."""

from collections.abc import Callable, Iterator

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from doorway import BEARER, HOME, HTML, TOKEN, assert_is_problem, make_app, visit
from lossboard_server.api.doors import CONTENT_SECURITY_POLICY, install_doors
from lossboard_server.settings import Settings

LogIn = Callable[[TestClient], None]


@pytest.fixture
def app() -> FastAPI:
    return make_app()


@pytest.fixture
def caller(app: FastAPI) -> Iterator[TestClient]:
    with visit(app) as client:
        yield client


@pytest.fixture
def log_in(app: FastAPI) -> LogIn:
    def log_in(client: TestClient) -> None:
        link = client.post("/login-links", headers=BEARER).json()["url"]
        assert client.get(link).status_code == 303

    return log_in


@pytest.mark.parametrize(
    "path",
    ["/", "/docs", "/openapi.json", "/static/x.js", "/api/v1/things/1", "/none", "/login/", "//healthz"],
)
def test_a_caller_without_a_token_is_refused_everywhere_even_where_nothing_is(caller, path):
    assert_is_problem(caller.get(path), 401, "unauthorized")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_no_method_passes_without_a_token(caller, method):
    assert_is_problem(caller.request(method, "/api/v1/things"), 401, "unauthorized")


@pytest.mark.parametrize(
    "shown", ["", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"]
)
def test_a_wrong_token_is_refused_and_the_answer_says_how_to_get_the_right_one(caller, shown):
    answer = caller.get("/api/v1/things/1", headers={"Authorization": shown})
    assert_is_problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "lossboard token" in answer.json()["detail"]


def test_a_token_beyond_ascii_is_refused_and_breaks_nothing(caller):
    answer = caller.get("/api/v1/things/1", headers={"Authorization": "Bearer é".encode("latin-1")})
    assert_is_problem(answer, 401, "unauthorized")


def test_the_token_opens_every_route(caller):
    assert caller.get("/api/v1/things/1", headers=BEARER).json() == {"number": 1}
    assert caller.post("/api/v1/things", headers=BEARER).status_code == 200


def test_a_browser_without_a_cookie_gets_a_page_that_names_the_command(caller):
    answer = caller.get("/?run=A", headers=HTML)
    assert answer.status_code == 401
    assert answer.headers["content-type"].startswith("text/html")
    assert "<code>lossboard open</code>" in answer.text
    assert "<script" not in answer.text


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/v1/things/1"])
@pytest.mark.parametrize(
    "name",
    [
        "evil.example",
        "127.0.0.1.evil.example:8765",
        "192.168.1.5:8765",
        "0.0.0.0:8765",
        "localhost:x",
        "a b",
        "",
    ],
)
def test_a_name_that_was_rebound_to_this_machine_is_refused(caller, path, name):
    assert_is_problem(caller.get(path, headers={**BEARER, "Host": name}), 403, "forbidden")


@pytest.mark.parametrize("name", ["127.0.0.1:8765", "localhost", "LOCALHOST:9000", "[::1]:8765"])
def test_every_name_of_loopback_is_taken_with_any_port(caller, name):
    assert caller.get("/api/v1/things/1", headers={**BEARER, "Host": name}).status_code == 200


@pytest.mark.parametrize(
    ("host", "name", "status"),
    [
        ("0.0.0.0", "192.168.1.5:8765", 200),
        ("0.0.0.0", "localhost:8765", 200),
        ("0.0.0.0", "evil.example", 403),
        ("0.0.0.0", "0.0.0.0", 403),
        ("192.168.1.5", "192.168.1.5", 200),
        ("192.168.1.5", "board.example.org", 200),
        ("gpu1", "gpu1:8765", 200),
        ("gpu1", "gpu2:8765", 403),
    ],
)
def test_beyond_loopback_the_bound_name_numbers_and_the_allowed_names_are_taken(host, name, status):
    app = make_app(host=host, allowed_hosts="board.example.org")
    with visit(app) as client:
        assert client.get("/api/v1/things/1", headers={**BEARER, "Host": name}).status_code == status


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("no_token", ["false", "true"])
def test_a_page_of_another_origin_is_refused_whatever_it_shows(headers, method, no_token):
    with visit(make_app(no_token=no_token)) as client:
        answer = client.request(method, "/api/v1/things", headers={**BEARER, **headers})
    assert_is_problem(answer, 403, "forbidden")


def test_following_a_link_from_another_site_is_no_foreign_request(caller, log_in):
    log_in(caller)
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert caller.get("/api/v1/things/1", headers=link).status_code == 200
    assert_is_problem(caller.post("/api/v1/things", headers=link), 403, "forbidden")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": HOME},
        {"Sec-Fetch-Site": "same-origin"},
        {"Origin": "null", "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_the_own_page_may_change_things_with_the_cookie(caller, log_in, headers):
    log_in(caller)
    assert caller.post("/api/v1/things", headers=headers).status_code == 200


def test_the_cookie_alone_changes_nothing(caller, log_in):
    log_in(caller)
    assert caller.get("/api/v1/things/1").status_code == 200
    assert_is_problem(caller.post("/api/v1/things"), 403, "forbidden")


def test_without_a_token_by_choice_everything_is_open_but_for_foreign_names_and_origins():
    with visit(make_app(no_token="true")) as client:
        assert client.get("/api/v1/things/1").status_code == 200
        assert client.post("/api/v1/things").status_code == 200
        assert client.get("/api/v1/things/1", headers={"Host": "evil.example"}).status_code == 403


def test_an_app_that_forgot_its_token_does_not_start_open():
    with pytest.raises(ValueError, match="no token"):
        install_doors(FastAPI(), Settings.resolve({}, {}))


def test_every_answer_carries_the_security_headers_failures_included(caller, log_in):
    paths = ["/healthz", "/none", "/api/v1/fail", "/api/v1/things/x", "/api/v1/conflict", "/readyz", "/docs"]
    answers = [caller.get(path, headers=BEARER) for path in paths]
    answers += [caller.get("/", headers=HTML), caller.get("/"), caller.put("/healthz")]
    answers += [caller.get("/", headers={"Host": "evil.example"}), caller.get("/login?code=x")]
    assert {answer.status_code for answer in answers} == {200, 401, 403, 404, 405, 409, 422, 500, 503}
    for answer in answers:
        assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-request-id"]


def test_a_websocket_is_refused(caller):
    with pytest.raises(Exception) as refusal, caller.websocket_connect("/api/v1/events"):
        pass
    assert getattr(refusal.value, "code", None) == 1008


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "http://[v]:1"])
def test_an_origin_that_is_no_address_is_foreign_and_breaks_nothing(caller, origin):
    assert_is_problem(caller.get("/api/v1/things/1", headers={**BEARER, "Origin": origin}), 403, "forbidden")
