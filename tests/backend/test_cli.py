"""The command line, typed as a person types it, beside a real service where it needs one."""

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from lossboard_server import __version__
from processes import Service, clean_environment, running_service

ROOT = Path(__file__).parents[2]


def type_command(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "lossboard", *words],
        env=clean_environment(folder, **environment),
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("state")) as service:
        yield service


def test_the_version_is_the_packages(tmp_path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert __version__ == project["version"]
    assert type_command(tmp_path, "--version").stdout == f"lossboard {__version__}\n"


def test_an_unknown_command_is_named_beside_the_known_ones(tmp_path):
    answer = type_command(tmp_path, "severe")
    assert answer.returncode == 2
    assert "'severe'" in answer.stderr
    assert "'serve'" in answer.stderr


def test_no_command_at_all_shows_the_commands(tmp_path):
    answer = type_command(tmp_path)
    assert answer.returncode == 2
    assert "serve" in answer.stdout
    assert "demo" in answer.stdout
    assert "sync" in answer.stdout


def test_an_unknown_option_points_to_the_help(tmp_path):
    answer = type_command(tmp_path, "serve", "--prot", "1")
    assert answer.returncode == 2
    assert "--prot" in answer.stderr
    assert "COMMAND --help" in answer.stderr


@pytest.mark.parametrize("command", ["open", "runs"])
def test_without_a_service_the_answer_says_how_to_start_one(tmp_path, command):
    answer = type_command(tmp_path, command)
    assert answer.returncode == 1
    assert "lossboard serve" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.live
def test_open_finds_the_service_and_prints_a_link_that_lets_a_browser_in(service):
    answer = type_command(service.folder, "open")
    link = re.search(r"http://\S+", answer.stdout)
    assert link is not None, answer.stderr
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with browser.open(link[0]) as page:
        assert page.url == f"{service.url}/"


@pytest.mark.live
def test_open_leads_to_the_run_that_was_named(service):
    answer = type_command(service.folder, "open", "A B")
    assert answer.stdout.rstrip().endswith("&next=%2F%3Frun%3DA%2520B")


@pytest.mark.live
def test_open_asks_only_for_the_port_that_was_named(service):
    assert type_command(service.folder, "open", "--port", str(service.port)).returncode == 0
    assert type_command(service.folder, "open", "--port", "1").returncode == 1


@pytest.mark.live
def test_a_stranger_on_the_port_never_gets_the_token(service, tmp_path):
    path = tmp_path / "services" / f"{service.port}.json"
    path.parent.mkdir()
    told = json.loads((service.folder / "services" / path.name).read_text())
    path.write_text(json.dumps({**told, "token": "what-this-service-does-not-know"}))
    answer = type_command(tmp_path, "open")
    assert answer.returncode == 1
    assert "No Lossboard of yours" in answer.stderr


@pytest.mark.live
def test_the_address_may_come_from_the_environment(service, tmp_path):
    known = {"LOSSBOARD_URL": service.url + "/", "LOSSBOARD_TOKEN": service.token}
    assert type_command(tmp_path, "open", **known).returncode == 0
    answer = type_command(tmp_path, "open", **{**known, "LOSSBOARD_TOKEN": "a-wrong-one-of-good-length"})
    assert answer.returncode == 1
    assert "lossboard token" in answer.stderr


@pytest.mark.live
def test_an_address_without_a_token_takes_the_token_of_this_users_service_there(service):
    assert type_command(service.folder, "open", LOSSBOARD_URL=service.url).returncode == 0


@pytest.mark.live
def test_an_export_that_cannot_be_written_says_so_and_leaves_nothing(service, tmp_path):
    service.send("PUT", "/api/v1/runs/B", {})
    (tmp_path / "taken.csv").mkdir()
    answer = type_command(service.folder, "export", "B", "-o", str(tmp_path / "taken.csv"))
    assert answer.returncode == 1
    assert "-o FILE" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["taken.csv"]


@pytest.mark.live
def test_runs_lists_what_is_stored(service):
    service.send("PUT", "/api/v1/runs/A", {"name": "amber\x1b[31m-otter"})
    rows = [{"epoch": 0, "batch": 0, "loss": 4.5, "batch_size": 2}]
    service.send("POST", "/api/v1/runs/A/records", {"records": rows})
    answer = type_command(service.folder, "runs", "otter")
    assert answer.returncode == 0, answer.stderr
    head, row = answer.stdout.splitlines()
    assert head.startswith("RUN")
    assert re.fullmatch(r"A +amber\?\[31m-otter +running +2 +0 +4\.5 +1 +\d+ s ago", row)


def test_token_prints_the_token_and_nothing_else(tmp_path):
    made = type_command(tmp_path, "token").stdout
    assert made == (tmp_path / "token").read_text()
    assert type_command(tmp_path, "token").stdout == made
    assert type_command(tmp_path, "token", "--path").stdout == f"{tmp_path / 'token'}\n"
    own = "a-token-of-good-length"
    assert type_command(tmp_path, "token", LOSSBOARD_TOKEN=own).stdout == f"{own}\n"


def run_without(tmp_path: Path, module: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command where a module can't be imported, as in a bare installation."""
    program = f"import sys; sys.modules[{module!r}] = None; from lossboard.cli import main; sys.exit(main())"
    environment = clean_environment(tmp_path, PYTHONPATH=str(ROOT / "client"))
    return subprocess.run(
        [sys.executable, "-c", program, *words], env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("module", ["fastapi", "uvicorn", "sqlalchemy", "alembic", "pydantic_core"])
def test_serve_in_a_bare_installation_prints_the_pip_command(tmp_path, module):
    answer = run_without(tmp_path, module, "serve", "--port", "0")
    assert answer.returncode == 2
    assert 'pip install "lossboard[server]"' in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_missing_database_driver_prints_its_own_pip_command(tmp_path):
    database = ("--database", "postgresql+psycopg://a@127.0.0.1:1/x")
    answer = run_without(tmp_path, "psycopg", "serve", "--port", "0", *database)
    assert answer.returncode == 2
    assert 'pip install "lossboard[postgres]"' in answer.stderr


@pytest.mark.parametrize("words", [["--version"], ["--help"], ["runs"], ["open"], ["token"], ["sync"]])
def test_what_needs_no_extra_works_in_a_bare_installation(tmp_path, words):
    answer = run_without(tmp_path, "fastapi", *words)
    assert "pip install" not in answer.stderr
    assert "Traceback" not in answer.stderr


def test_the_console_script_is_the_clients_main():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    entry = importlib.metadata.EntryPoint("lossboard", project["scripts"]["lossboard"], "console_scripts")
    assert entry.load().__module__ == "lossboard.cli"
