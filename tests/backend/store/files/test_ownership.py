"""One process a SQLite file: whoever comes second is told who holds it, and a dead holder holds nothing."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lossboard_server.store.files.ownership import database_file, own
from lossboard_server.store.files.refusals import DatabaseInUse, NetworkFileSystem, UnusableDatabase
from lossboard_server.store.store import Store

HOLD = """
import sys, time
from pathlib import Path
from lossboard_server.store.files.ownership import own
with own(Path(sys.argv[1]), "the service on 127.0.0.1:8765"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


def hold(path: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)


def test_second_process_is_refused_with_the_first_ones_name_and_what_to_do(path: Path) -> None:
    first = hold(path)
    try:
        with pytest.raises(DatabaseInUse) as refusal, own(path, "lossboard doctor"):
            pass
    finally:
        end(first)
    said = str(refusal.value)
    assert f"in use by the service on 127.0.0.1:8765 (pid {first.pid})" in said
    assert "lossboard open" in said
    assert "--database" in said


def test_lock_of_a_killed_process_is_free_at_once(path: Path) -> None:
    end(hold(path))
    with own(path, "lossboard import"):
        about = json.loads(path.with_name("a.db.lock").read_text())
    assert (about["purpose"], about["pid"]) == ("lossboard import", os.getpid())


def test_lock_is_free_again_when_a_tool_is_done_or_has_failed(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), own(path, "lossboard doctor"):
        raise ZeroDivisionError
    with own(path, "lossboard doctor"):
        pass


def test_links_and_relative_paths_lead_to_one_lock(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.touch()
    (tmp_path / "file").symlink_to(path)
    (tmp_path / "folder").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    names = ("file", "folder/a.db", "folder/file", "a.db", f"../{tmp_path.name}/a.db")
    with own(path, "lossboard doctor"):
        for name in names:
            with pytest.raises(DatabaseInUse), own(Path(name), "lossboard import"):
                pass


def test_two_stores_of_one_process_can_not_hold_one_file_either(path: Path) -> None:
    first = Store(f"sqlite:///{path}", purpose="the first")
    with pytest.raises(DatabaseInUse, match="in use by the first"):
        Store(f"sqlite:///{path}")
    first.close()
    Store(f"sqlite:///{path}").close()


def test_store_that_could_not_be_opened_holds_nothing(path: Path) -> None:
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(UnusableDatabase):
        Store(f"sqlite:///{path}")
    with own(path, "lossboard doctor"):
        pass


def test_files_beside_each_other_are_held_apart(path: Path) -> None:
    with own(path, "one"), own(path.with_name("b.db"), "other"):
        pass


def test_network_file_system_is_refused_before_anything_is_made_there(tmp_path: Path) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(f"1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:9 / {tmp_path}/n rw - nfs4 s:/x rw\n")
    with (
        pytest.raises(NetworkFileSystem) as refusal,
        own(tmp_path / "n" / "a.db", "lossboard doctor", mountinfo),
    ):
        pass
    assert "(nfs4)" in str(refusal.value)
    assert "postgresql+psycopg://" in str(refusal.value)
    assert not (tmp_path / "n").exists()


def test_link_to_a_network_file_system_is_refused_as_well(tmp_path: Path) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(f"1 0 8:1 / / rw - ext4 /dev/sda rw\n2 1 0:9 / {tmp_path}/n rw - cifs //s/x rw\n")
    (tmp_path / "n").mkdir()
    (tmp_path / "local").symlink_to(tmp_path / "n")
    with pytest.raises(NetworkFileSystem), own(tmp_path / "local" / "a.db", "lossboard doctor", mountinfo):
        pass


def test_folder_that_takes_no_lock_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnusableDatabase, match="--database"), own(tmp_path / "file" / "a.db", "a test"):
        pass


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("sqlite:////a/b.db", "/a/b.db"),
        ("sqlite:////a/b%20c.db", "/a/b c.db"),
        ("sqlite+pysqlite:////a/b.db", "/a/b.db"),
        ("sqlite:///file:/a/b%20c.db?uri=true&mode=rwc", "/a/b c.db"),
        ("sqlite:///file:///a/b.db?uri=true", "/a/b.db"),
        ("sqlite:///file:x?mode=memory&uri=true", None),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("postgresql+psycopg://u:p@db/lossboard", None),
    ],
)
def test_file_of_a_url(url: str, file: str | None) -> None:
    assert database_file(url) == (None if file is None else Path(file))


def test_relative_url_is_of_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert database_file("sqlite:///a.db") == tmp_path / "a.db"


def test_no_file_needs_no_lock() -> None:
    with own(None, "one"), own(None, "other"):
        pass
