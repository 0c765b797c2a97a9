"""What a user gets from the wheel, where no source tree is near."""

import re
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from processes import Service, clean_environment

pytestmark = pytest.mark.wheel

OFFLINE_LOOP = """
import sys
import lossboard
names = {name.split(".")[0] for name in sys.modules if not name.startswith("_")}
third_party = sorted(names - set(sys.stdlib_module_names) - {"lossboard"})
run = lossboard.init(mode="offline", strict=True)
for batch, loss in enumerate([4.5, 3.0, 2.5, 2.0]):
    run.log(epoch=0, batch=batch, loss=loss, batch_size=2)
run.finish()
print(third_party)
"""


@pytest.fixture(scope="session")
def service(with_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    service = Service(folder, command=[str(with_server / "lossboard")])
    try:
        yield service.start()
    finally:
        service.stop()


def test_wheel_holds_both_packages_and_the_page_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"lossboard", "lossboard_server"}
    assert "lossboard_server/frontend/index.html" in names
    assert "lossboard_server/demo/training.py" in names
    assert "lossboard/py.typed" in names
    assert any(name.startswith("lossboard_server/store/migrations/versions/") for name in names)


def test_bare_client_logs_offline_into_its_journal(bare: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(bare / "python"), "-c", OFFLINE_LOOP],
        cwd=tmp_path,
        env=clean_environment(tmp_path / "state"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"
    (segment,) = (tmp_path / "state" / "journal").glob("*/000000.seg")
    assert segment.stat().st_size == 4 * 64


def test_bare_serve_names_the_pip_command_and_exits_2(bare: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(bare / "lossboard"), "serve"],
        cwd=tmp_path,
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert re.search(r"pip install .*lossboard\[server\]", done.stderr)


def test_demo_without_torch_names_the_pip_command_and_exits_2(with_server: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(with_server / "lossboard"), "demo"],
        cwd=tmp_path,
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert re.search(r"pip install .*lossboard\[demo\]", done.stderr)


def test_served_page_brings_every_file_that_it_names(service: Service) -> None:
    page = service.fetch("GET", "/").decode()
    named = re.findall(r'(?:src|href)="(/[^"]+)"', page)
    assert named, page
    for path in named:
        assert service.fetch("GET", path), path
    assert any(re.fullmatch(r"/plotly-[0-9.]+\.min\.js", path) for path in named), named


def test_service_from_the_wheel_stores_and_returns_a_record(service: Service) -> None:
    service.send("PUT", "/api/v1/runs/wheel", {})
    row = {"epoch": 0, "batch": 0, "loss": 4.5, "batch_size": 2}
    service.send("POST", "/api/v1/runs/wheel/records", {"records": [row]})
    (epoch,) = service.get("/api/v1/runs/wheel/epochs")["epochs"]
    assert epoch["total"] == 9.0
