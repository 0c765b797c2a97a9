"""The services files and the token file in $LOSSBOARD_DIR."""

import json
import os
import socket
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lossboard_server.services import (
    Service,
    is_alive,
    keep_token,
    live_services,
    process_start,
    remove_service,
    token_path,
    write_service,
)
from lossboard_server.settings import SettingError


def make_service(port: int = 8765, pid: int | None = None, started_unix_s: float = 1.0) -> Service:
    """Describe a service of this very process, unless told otherwise."""
    pid = os.getpid() if pid is None else pid
    return Service(
        f"http://127.0.0.1:{port}",
        "127.0.0.1",
        port,
        pid,
        process_start(pid),
        "t" * 16,
        started_unix_s,
        "sqlite://",
        socket.gethostname(),
    )


def mode_of(path: Path) -> int:
    """Return who may do what with a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_services_file_is_for_this_user_only_and_says_what_a_client_needs(tmp_path):
    path = write_service(tmp_path / "new", make_service())
    assert path == tmp_path / "new" / "services" / "8765.json"
    assert (mode_of(path), mode_of(path.parent)) == (0o600, 0o700)
    assert json.loads(path.read_text()).keys() == {
        "url", "host", "port", "pid", "pid_started", "token", "started_unix_s", "database", "node",
    }  # fmt: skip
    assert [entry.name for entry in path.parent.iterdir()] == ["8765.json"]


def test_the_newest_live_service_comes_first_and_dead_ones_are_cleared_away(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    dead = make_service(port=3, pid=child.pid)
    child.communicate(b"\n")
    write_service(tmp_path, make_service(port=1, started_unix_s=1.0))
    write_service(tmp_path, make_service(port=2, started_unix_s=2.0))
    write_service(tmp_path, dead)
    assert [service.port for service in live_services(tmp_path)] == [2, 1]
    assert sorted(path.name for path in (tmp_path / "services").iterdir()) == ["1.json", "2.json"]


def test_the_file_of_another_machine_that_shares_the_folder_is_neither_taken_nor_removed(tmp_path):
    path = write_service(tmp_path, replace(make_service(), node="another-node", pid=2**22 + 1))
    assert live_services(tmp_path) == []
    assert path.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells when a process started")
def test_a_pid_that_was_given_to_another_process_is_noticed():
    started = process_start(os.getpid())
    assert started is not None
    assert is_alive(os.getpid(), started)
    assert not is_alive(os.getpid(), started - 1)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"port": 1}'])
def test_a_file_that_is_no_services_file_is_passed_over(tmp_path, text):
    path = write_service(tmp_path, make_service())
    path.with_name("1.json").write_text(text)
    assert [service.port for service in live_services(tmp_path)] == [8765]


def test_a_service_removes_its_own_file_only(tmp_path):
    own = make_service()
    path = write_service(tmp_path, own)
    remove_service(tmp_path, make_service(pid=1))
    assert path.exists()
    remove_service(tmp_path, own)
    assert not path.exists()
    remove_service(tmp_path, own)


def test_the_token_is_made_once_and_for_this_user_only(tmp_path):
    folder = tmp_path / "new"
    token = keep_token(folder)
    assert len(token) >= 32
    assert keep_token(folder) == token
    assert (mode_of(token_path(folder)), mode_of(folder)) == (0o600, 0o700)


def test_a_token_file_that_others_could_read_is_closed_to_them(tmp_path):
    token_path(tmp_path).write_text("a-token-of-good-length\n")
    token_path(tmp_path).chmod(0o644)
    assert keep_token(tmp_path) == "a-token-of-good-length"
    assert mode_of(token_path(tmp_path)) == 0o600


@pytest.mark.parametrize("content", [b"short", b"\xff" * 20])
def test_a_token_file_without_a_usable_token_is_refused_and_named(tmp_path, content):
    token_path(tmp_path).write_bytes(content)
    with pytest.raises(SettingError, match=str(token_path(tmp_path))):
        keep_token(tmp_path)
