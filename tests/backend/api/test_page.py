"""The page's files: what is served, what is not, and how long a browser may keep it."""

import gzip
import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from lossboard_server import __version__
from lossboard_server.api import docs, health, page
from lossboard_server.api.page import Frontend, find_frontend, plotly_address
from lossboard_server.api.problems import install_problem_handlers
from lossboard_server.errors import NotFound, Unavailable

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secret.js").write_text("secret")
    folder = tmp_path / "frontend"
    (folder / "charts").mkdir(parents=True)
    (folder / "index.html").write_text('<script src="{{plotly}}"></script>{{version}} at batch size 10 – 20')
    (folder / "main.js").write_text("// ü")
    (folder / "charts" / "axis.js").write_text("// axis")
    (folder / "jsconfig.json").write_text("{}")
    (folder / "link.js").symlink_to(tmp_path / "secret.js")
    return folder


@pytest.fixture
def caller() -> Iterator[TestClient]:
    app = FastAPI(docs_url=None, redoc_url=None)
    app.include_router(page.router)
    app.include_router(docs.router)
    app.include_router(health.router)
    install_problem_handlers(app)
    with TestClient(app) as client:
        yield client


def test_the_page_names_plotly_by_its_version(folder):
    content = Frontend(folder).index().content.decode()
    version = importlib.metadata.version("plotly")
    assert content == f'<script src="/plotly-{version}.min.js"></script>{__version__} at batch size 10 – 20'


def test_a_file_is_served_by_its_path_below_the_folder(folder):
    frontend = Frontend(folder)
    assert frontend.asset("main.js").content == "// ü".encode()
    assert frontend.asset("main.js").media_type == "text/javascript; charset=utf-8"
    assert frontend.asset("charts/axis.js").content == b"// axis"


@pytest.mark.parametrize(
    "name",
    [
        "../secret.js",
        "charts/../../secret.js",
        "/etc/passwd",
        "link.js",
        "jsconfig.json",
        "index.html",
        "charts",
        "",
        "main.js\0",
    ],
)
def test_no_name_leads_out_of_the_folder_or_to_what_is_no_part_of_the_page(folder, name):
    with pytest.raises(NotFound):
        Frontend(folder).asset(name)


def test_a_changed_file_is_sent_with_another_etag(folder):
    frontend = Frontend(folder)
    before = frontend.asset("main.js")
    assert frontend.asset("main.js").etag == before.etag
    (folder / "main.js").write_text("// longer than before")
    assert frontend.asset("main.js").etag != before.etag


def test_a_removed_file_is_not_found(folder):
    frontend = Frontend(folder)
    frontend.asset("main.js")
    (folder / "main.js").unlink()
    with pytest.raises(NotFound):
        frontend.asset("main.js")


def test_an_installation_without_the_page_says_so(tmp_path):
    with pytest.raises(Unavailable, match="install lossboard again"):
        Frontend(tmp_path).index()


def test_a_checkout_serves_its_own_frontend():
    assert find_frontend() == ROOT / "frontend"


def test_a_browser_keeps_the_page_as_long_as_it_holds(caller):
    answer = caller.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    again = caller.get("/", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == answer.headers["etag"]


def test_every_own_file_that_the_page_names_is_served(caller):
    text = caller.get("/").text
    assert "{{" not in text
    for address in re.findall(r'(?:src|href)="(/[^"]+)"', text):
        assert caller.get(address).status_code == 200, address


@pytest.mark.parametrize(
    "path", ["/static/..%2fREADME.md", "/static/%2e%2e/README.md", "/static//etc/passwd"]
)
def test_no_address_leads_out_of_the_folder(caller, path):
    assert caller.get(path).status_code == 404


def test_plotly_is_sent_compressed_and_kept_for_ever(caller):
    answer = caller.get(plotly_address(), headers={"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["content-type"].startswith("text/javascript")
    assert int(answer.headers["content-length"]) < 2_000_000
    assert b"plotly.js v" in answer.content[:200]


def test_plotly_is_sent_plain_to_who_does_not_take_gzip(caller):
    answer = caller.get(plotly_address(), headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in answer.headers
    plain, compressed = page.plotly_script()
    assert answer.content == plain == gzip.decompress(compressed)


def test_another_version_of_plotly_is_not_found(caller):
    assert caller.get("/plotly-0.0.1.min.js").status_code == 404


def test_the_list_of_routes_needs_nothing_from_elsewhere(caller):
    answer = caller.get("/docs")
    assert "GET /healthz" in answer.text
    assert 'id="run-not-found"' in answer.text
    assert "<script" not in answer.text
    assert not re.search(r'(?:src|href)="(?:https?:)?//', answer.text)
