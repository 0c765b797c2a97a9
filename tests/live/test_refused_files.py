"""A database that must not be opened: one clear message, the documented exit code, and not a byte changed."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from processes import Service, refuse_to_serve, running_service
from small_disk import small_disk

pytestmark = pytest.mark.live

SETTING, REPAIR = 2, 3  # exit codes, as the README tells them
SERVE = (sys.executable, "-m", "lossboard.cli")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A service's database with a run of some records, after its end."""
    folder = tmp_path_factory.mktemp("stored")
    with running_service(folder) as service:
        rows = [{"epoch": 0, "batch": batch, "loss": 1.0, "batch_size": 2} for batch in range(3000)]
        service.send("PUT", "/api/v1/runs/r", {})
        service.send("POST", "/api/v1/runs/r/records", {"records": rows})
    return folder / "lossboard.db"


@pytest.fixture
def path(stored: Path, tmp_path: Path) -> Path:
    """A copy; whatever a test does, what stands in it then is what a refused start leaves."""
    return Path(shutil.copy(stored, tmp_path / "lossboard.db"))


def damage_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\0" * 100)


def cut_off(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 8192)


def make_later(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")


@pytest.mark.parametrize(
    ("harm", "code", "said"),
    [
        (damage_header, REPAIR, "lossboard doctor"),
        (cut_off, REPAIR, "cut off"),
        (make_later, SETTING, "Upgrade"),
    ],
    ids=["header", "cut", "later"],
)
def test_file_that_can_not_be_taken_is_told_and_left_as_it_is(
    path: Path, harm: Callable[[Path], None], code: int, said: str
) -> None:
    harm(path)
    before = path.read_bytes()
    ended = refuse_to_serve(path.parent)
    assert ended.returncode == code, ended.stderr
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert path.read_bytes() == before
    assert not path.with_name("lossboard.db-wal").exists()


def test_folder_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "folder.db").mkdir()
    ended = refuse_to_serve(tmp_path, "--database", f"sqlite:///{tmp_path / 'folder.db'}")
    assert ended.returncode == SETTING
    assert "is a folder" in ended.stderr


def test_read_only_disk_is_told(tmp_path: Path, stored: Path) -> None:
    with small_disk(tmp_path / "disk", 4 << 20) as disk:
        shutil.copy(stored, disk / "lossboard.db")
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        ended = refuse_to_serve(tmp_path, "--database", f"sqlite:///{disk / 'lossboard.db'}")
        assert ended.returncode == SETTING
        assert "--database" in ended.stderr
        assert "Read-only" in ended.stderr


def test_second_service_on_one_file_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    with running_service(tmp_path / "first") as first:
        database = first.folder / "lossboard.db"
        (tmp_path / "link.db").symlink_to(database)
        ended = refuse_to_serve(tmp_path / "second", "--database", f"sqlite:///{tmp_path / 'link.db'}")
        assert ended.returncode == SETTING
        assert f"{database} is in use by the service on 127.0.0.1:{first.port}" in ended.stderr
        assert f"(pid {first.pid})" in ended.stderr
        assert "--database sqlite:" in ended.stderr
        assert first.get("/api/v1/runs")["runs"] == []


def test_file_of_a_killed_service_is_free_at_once(service: Service) -> None:
    service.kill()
    service.start()


def test_network_file_system_is_refused_by_the_real_service(tmp_path: Path) -> None:
    home = tmp_path / "home"
    mounts = Path("/proc/self/mountinfo")
    if not mounts.exists():
        pytest.skip("this system has no mountinfo")
    told = tmp_path / "mountinfo"
    told.write_text(f"{mounts.read_text()}99 1 0:99 / {home} rw,relatime - nfs4 store:/home rw,hard\n")
    # A mount namespace of its own, in which its mountinfo tells of one more.
    show = f'mount --bind {told} /proc/$$/mountinfo && exec "$@"'
    command = ("unshare", "--mount", "sh", "-c", show, "sh")
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], check=False).returncode != 0:
        pytest.skip("no mount namespace can be made here")
    ended = refuse_to_serve(home, command=(*command, *SERVE))
    assert ended.returncode == SETTING
    assert "network file system (nfs4)" in ended.stderr
    assert "--database postgresql" in ended.stderr
    assert not (home / "lossboard.db").exists()
