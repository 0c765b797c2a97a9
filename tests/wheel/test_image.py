"""The image's own steps where no Docker engine is at hand: what it copies, installs, checks and starts."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from processes import Service

pytestmark = pytest.mark.wheel

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "backend" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")


def steps(word: str) -> list[str]:
    """Return what stands behind each line of the Dockerfile that begins with this word."""
    return [
        line.removeprefix(word).strip() for line in DOCKERFILE.splitlines() if line.startswith(word + " ")
    ]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh environment into which only what the image copies was installed, its way."""
    context, home = tmp_path_factory.mktemp("context"), tmp_path_factory.mktemp("image")
    for copied in steps("COPY"):
        *sources, target = copied.split()
        for source in sources:
            if (ROOT / source).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / source, context / target, ignore=ignored)
            else:
                shutil.copy(ROOT / source, context)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    (command,) = (step.split("&&")[0] for step in steps("RUN") if step.startswith("pip "))
    arguments = [part for part in shlex.split(command)[1:] if part != "--no-cache-dir"]
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--quiet",
        "--python",
        str(home / "bin/python"),
    ]
    done = subprocess.run([*pip, *arguments], cwd=context, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return home / "bin"


def test_image_starts_its_service_says_that_it_is_healthy_and_knows_postgresql(
    programs: Path, tmp_path: Path
) -> None:
    program, *command = json.loads(steps("CMD")[-1])
    assert (program, command[0]) == ("lossboard", "serve")
    port = command.index("--port")
    options = [*command[1:port], *command[port + 2 :]]
    service = Service(tmp_path / "data", command=[str(programs / program)], cwd=tmp_path, options=options)
    try:
        service.start()
        told = re.search(r"CMD (\[.*\])", steps("HEALTHCHECK")[0])
        assert told is not None
        check = [part.replace(":8765/", f":{service.port}/") for part in json.loads(told[1])]
        check[0] = str(programs / check[0])
        assert subprocess.run(check, capture_output=True, check=False).returncode == 0
        service.stop()
        assert subprocess.run(check, capture_output=True, check=False).returncode != 0
    finally:
        service.stop()
    database = "postgresql+psycopg://nobody@127.0.0.1:1/none"
    refused = subprocess.run(
        [
            programs / program,
            "serve",
            "--port",
            "0",
            "--dir",
            str(tmp_path / "other"),
            "--database",
            database,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert "Connection refused" in refused.stderr, "the driver is there, the server is not"


def test_image_serves_as_a_user_without_rights_on_a_volume_of_its_own() -> None:
    assert steps("USER") == ["lossboard"]
    (user,) = (step for step in steps("RUN") if step.startswith("useradd "))
    assert "--owner lossboard --mode 0700 /data" in user
    assert steps("VOLUME") == ["/data"]
    assert "LOSSBOARD_DIR=/data" in steps("ENV")[0]
    assert DOCKERFILE.index("USER lossboard") < DOCKERFILE.index("CMD [")
