"""The built wheel, installed away from the source tree: bare, and with what the service needs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built once."""
    folder = tmp_path_factory.mktemp("wheel")
    run_pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts folder of an environment that holds the wheel and nothing else."""
    return install(tmp_path_factory.mktemp("bare"), str(wheel))


@pytest.fixture(scope="session")
def with_server(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts folder of an environment that holds the wheel with its extra `server`."""
    return install(tmp_path_factory.mktemp("server"), f"{wheel}[server]")


def install(folder: Path, requirement: str) -> Path:
    """Make an environment without pip of its own and install one thing into it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    scripts = folder / ("Scripts" if sys.platform == "win32" else "bin")
    run_pip("--python", str(scripts / "python"), "install", requirement)
    return scripts


def run_pip(*arguments: str) -> None:
    """Run this environment's pip; a failure shows what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"pip {' '.join(arguments)}:\n{done.stdout}{done.stderr}", pytrace=False)
