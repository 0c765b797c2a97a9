"""The peers' environment: a second one inside the project's, which shares its torch and changes nothing.

It holds a .pth file, which adds the project's packages behind its own, and each peer that pip can install.
"""

import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Final, NamedTuple

from figures import note

# Their names and pip's; those that time calls of log, and those that have a service to ask for curves.
PEERS: Final = {"TensorBoard": "tensorboard", "trackio": "trackio", "wandb": "wandb"}
TRACKERS: Final = {"TensorBoard": "tensorboard", "trackio": "trackio", "MLflow": "mlflow"}
INSTALL_TIMEOUT_S: Final = 300
# Loopback only: what asks for a proxy gets one that refuses, the rest is told not to ask.
QUIET: Final = {
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1,localhost",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "WANDB_ERROR_REPORTING": "false",
}


class Peer(NamedTuple):
    """A peer that is installed, and the Python that has it."""

    name: str
    version: str
    python: Path


def prepare_peers(wanted: Mapping[str, str] = PEERS) -> list[Peer]:
    """Install what is missing and return what is there; a peer that fails is named and left out."""
    if sys.prefix == sys.base_prefix:
        note("No peers: they are installed only beside a virtual environment, such as make bench makes.")
        return []
    folder = Path(sys.prefix) / "peers"
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
    shared = packages / "shared.pth"
    try:
        if not shared.exists():
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
            line = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
            shared.write_text(line, encoding="utf-8")
    except (OSError, subprocess.CalledProcessError) as error:
        note(f"No peers: their environment can't be made in {folder}: {error!s:.200}")
        return []
    for name, package in wanted.items():
        if package not in read_versions(packages):
            install(name, package, python)
    versions = read_versions(packages)
    return [Peer(name, versions[pip], python) for name, pip in wanted.items() if pip in versions]


def read_versions(packages: Path) -> dict[str, str]:
    """Return the versions of what is installed in one folder."""
    return {found.name.lower(): found.version for found in distributions(path=[str(packages)])}


def install(name: str, package: str, python: Path) -> None:
    """Install one peer for itself, so that one that fails takes no other with it."""
    print(f"  installing {name} for the comparison …", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    try:
        done = subprocess.run(
            [*command, "install", "--quiet", "--no-input", package],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
        if done.returncode == 0:
            return
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        why = errors[-1] if errors else f"pip ended with {done.returncode}"
    except subprocess.TimeoutExpired:
        why = f"pip took longer than {INSTALL_TIMEOUT_S} s"
    note(f"{name} is left out, it did not install: {why:.200}")
