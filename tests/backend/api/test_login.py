"""One-time links and the cookie that they are exchanged for."""

import time
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from lossboard_server.api import login
from lossboard_server.api.doors import install_doors
from lossboard_server.api.keys import COOKIE_LIFETIME_S, Keys
from lossboard_server.api.login import CODE_LIFETIME_S
from lossboard_server.api.problems import install_problem_handlers
from lossboard_server.settings import Settings

TOKEN = "a-token-of-good-length"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


class Codes:
    """One-time codes in memory, with a clock that a test may turn."""

    def __init__(self) -> None:
        self.kept: dict[str, float] = {}
        self.ahead_s = 0.0

    def put_code(self, code_hash: str, expires_unix_s: float) -> None:
        """Keep a code."""
        self.kept[code_hash] = expires_unix_s

    def take_code(self, code_hash: str, now: float) -> bool:
        """Use a code up."""
        return self.kept.pop(code_hash, 0.0) >= now + self.ahead_s


def make_app(token: str = TOKEN, port: int = 8765) -> FastAPI:
    """Put the doors around an app that has only the login and one page."""
    app = FastAPI()
    app.include_router(login.router)

    @app.get("/")
    def read_index() -> str:
        return "the page"

    app.state.codes = Codes()
    install_problem_handlers(app)
    install_doors(app, Settings.resolve({"port": port}, {"LOSSBOARD_TOKEN": token}))
    return app


def visit(app: FastAPI) -> TestClient:
    """Make a browser that follows nothing by itself."""
    return TestClient(app, base_url="http://127.0.0.1:8765", follow_redirects=False)


@pytest.fixture
def app() -> FastAPI:
    return make_app()


@pytest.fixture
def browser(app: FastAPI) -> Iterator[TestClient]:
    with visit(app) as client:
        yield client


def make_link(browser: TestClient, **query: str) -> str:
    """Ask for a link as `lossboard open` does."""
    answer = browser.post("/login-links", headers=BEARER, params=query)
    assert answer.status_code == 200
    assert answer.json()["expires_in_s"] == CODE_LIFETIME_S
    return answer.json()["url"]


def test_a_link_lets_a_browser_in(browser):
    assert browser.get("/").status_code == 401
    answer = browser.get(make_link(browser))
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert browser.get("/").json() == "the page"


def test_the_link_has_the_name_by_which_it_was_asked_for(browser):
    answer = browser.post("/login-links", headers={**BEARER, "Host": "localhost:9000"})
    assert answer.json()["url"].startswith("http://localhost:9000/login?code=")


def test_a_link_needs_the_token(browser):
    assert browser.post("/login-links").status_code == 401


def test_a_link_works_once(app, browser):
    link = make_link(browser)
    with visit(app) as other:
        assert browser.get(link).status_code == 303
        answer = other.get(link, headers={"Accept": "text/html"})
        assert answer.status_code == 401
        assert "<code>lossboard open</code>" in answer.text
        assert "set-cookie" not in answer.headers
        assert other.get(link).json()["code"] == "unauthorized"


def test_a_used_link_brings_the_same_browser_to_the_page_again(browser):
    link = make_link(browser)
    browser.get(link)
    assert browser.get(link).status_code == 303


def test_a_link_expires(app, browser):
    link = make_link(browser)
    app.state.codes.ahead_s = CODE_LIFETIME_S + 1
    assert browser.get(link).status_code == 401


def test_looking_at_a_link_without_following_it_does_not_spend_it(browser):
    link = make_link(browser)
    assert browser.head(link).status_code == 405
    assert browser.get(link).status_code == 303


@pytest.mark.parametrize("query", ["", "?code=", "?code=guess"])
def test_without_a_code_of_ours_nobody_comes_in(browser, query):
    assert browser.get(f"/login{query}").status_code == 401


def test_the_store_never_sees_the_code_itself(app, browser):
    code = parse_qs(urlsplit(make_link(browser)).query)["code"][0]
    assert len(code) >= 43
    assert all(code not in kept for kept in app.state.codes.kept)


@pytest.mark.parametrize("path", ["/?run=A&view=per_item", "/docs"])
def test_a_link_can_lead_to_any_path_of_ours(browser, path):
    assert browser.get(make_link(browser, next=path)).headers["location"] == path


@pytest.mark.parametrize(
    "path",
    ["//evil.example", "/\\evil.example", "http://evil.example", "evil", "/a\r\nSet-Cookie: x=1", "/ä", ""],
)
def test_a_link_never_leads_to_another_site(browser, path):
    assert browser.get(make_link(browser, next=path)).headers["location"] == "/"
    code = parse_qs(urlsplit(make_link(browser)).query)["code"][0]
    assert browser.get("/login", params={"code": code, "next": path}).headers["location"] == "/"


def test_the_cookie_is_kept_from_scripts_and_foreign_posts_and_holds_no_token(browser):
    cookie = browser.get(make_link(browser)).headers["set-cookie"]
    assert cookie.startswith("lossboard_8765=")
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "samesite=lax", "path=/", f"max-age={COOKIE_LIFETIME_S}"} <= attributes
    assert TOKEN not in cookie


def test_the_cookie_survives_a_restart_of_the_service(browser):
    browser.get(make_link(browser))
    with visit(make_app()) as restarted:
        restarted.cookies = browser.cookies
        assert restarted.get("/").status_code == 200


def test_the_cookie_of_another_token_opens_nothing(browser):
    browser.get(make_link(browser))
    with visit(make_app(token="another-token-of-good-length")) as other:
        other.cookies = browser.cookies
        assert other.get("/").status_code == 401


def test_the_cookie_expires():
    keys = Keys(TOKEN, 8765)
    header = f"other=1; lossboard_8765={keys.sign_cookie(time.time())}"
    assert keys.is_cookie(header, time.time())
    assert not keys.is_cookie(header, time.time() + COOKIE_LIFETIME_S + 1)


@pytest.mark.parametrize(
    "value",
    ["", ".", "99999999999.", "99999999999.00", "9999999999999999999.00", "x.y", "²." + "0" * 64, '"'],
)
def test_a_forged_cookie_opens_nothing(value):
    assert not Keys(TOKEN, 8765).is_cookie(f"lossboard_8765={value}", time.time())


def test_a_cookie_whose_date_was_changed_opens_nothing():
    keys = Keys(TOKEN, 8765)
    expires, _, signature = keys.sign_cookie(time.time()).partition(".")
    assert not keys.is_cookie(f"lossboard_8765={int(expires) + 1}.{signature}", time.time())


def test_without_a_token_the_link_leads_straight_to_the_page():
    app = FastAPI()
    app.include_router(login.router)
    app.state.codes = Codes()
    install_doors(app, Settings.resolve({"no_token": "true"}, {}))
    with visit(app) as client:
        answer = client.get(client.post("/login-links").json()["url"])
        assert answer.status_code == 303
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "other", ['x={"a":1}', "a[b]=c", "two words=3", "flag", "a=\xe4", 'a="unclosed', "="]
)
def test_odd_cookies_of_other_programs_on_this_machine_do_not_hide_ours(other):
    keys = Keys(TOKEN, 8765)
    ours = f"lossboard_8765={keys.sign_cookie(time.time())}"
    assert keys.is_cookie(f"{other}; {ours}", time.time())
    assert keys.is_cookie(f"{ours}; {other}", time.time())
