"""Which service a client takes: the named one, else the newest whose process lives and whose file is ours."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lossboard.sending.addresses import is_loopback
from lossboard.sending.discovery import Service, find_service, read_services
from lossboard.settings import check_url

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a services file of the process that runs this test."""
    from lossboard.identity import started_ticks

    def write_entry(port: int, **changes: Any) -> Path:
        import os

        folder = tmp_path / "services"
        folder.mkdir(exist_ok=True)
        entry = {"url": f"http://127.0.0.1:{port}", "token": f"token {port}", "started_unix_s": float(port)}
        entry |= {"pid": os.getpid(), "pid_started": started_ticks(os.getpid())}
        path = folder / f"{port}.json"
        path.write_text(json.dumps(entry | changes))
        path.chmod(0o600)
        return path

    return write_entry


def test_newest_live_service_is_taken(tmp_path: Path, write: Write) -> None:
    write(8001)
    write(8003, pid_started=1)  # its pid was given to another process
    write(8004, pid=2**22 + 1)
    write(8002)
    assert [service.url[-4:] for service in read_services(tmp_path)] == ["8002", "8001"]
    assert find_service(tmp_path, None, None) == Service("http://127.0.0.1:8002", "token 8002")


def test_no_service_is_no_fault(tmp_path: Path) -> None:
    assert find_service(tmp_path, None, None) is None


def test_named_address_goes_before_what_runs_here_and_takes_its_token(tmp_path: Path, write: Write) -> None:
    write(8001)
    write(8002)
    assert find_service(tmp_path, "http://127.0.0.1:8001", None) == Service(
        "http://127.0.0.1:8001", "token 8001"
    )
    assert find_service(tmp_path, "http://localhost:8001", None) == Service(
        "http://localhost:8001", "token 8001"
    )
    assert find_service(tmp_path, "http://localhost.example:8001", None) == Service(
        "http://localhost.example:8001", None
    )
    assert find_service(tmp_path, "https://far.example", None) == Service("https://far.example", None)
    assert find_service(tmp_path, "https://far.example", "mine") == Service("https://far.example", "mine")


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"url": "file:///etc", "pid": 1}', '{"pid": "1"}', "\xff", '{"pid": 1}'],
)
def test_file_that_makes_no_sense_is_skipped(tmp_path: Path, write: Write, content: str) -> None:
    write(8001).write_text(content, encoding="latin-1")
    assert read_services(tmp_path) == []


def test_file_that_others_may_write_is_not_believed(tmp_path: Path, write: Write) -> None:
    write(8001).chmod(0o666)
    assert read_services(tmp_path) == []


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:1", True),
        ("http://127.8.8.8", True),
        ("http://localhost:1", True),
        ("http://[::1]:1", True),
        ("http://127.0.0.1.evil.example", False),
        ("http://10.0.0.1", False),
    ],
)
def test_loopback_is_told_from_its_lookalikes(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected


@pytest.mark.parametrize(
    "url",
    ["", "127.0.0.1:8765", "ftp://a", "http://", "http://a:x", "http://a b", "http://a?b=c", "http://ü"],
)
def test_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        check_url(url)


def test_folder_that_cannot_be_listed_holds_no_service(tmp_path: Path) -> None:
    assert find_service(tmp_path / ("long" * 100), None, None) is None
