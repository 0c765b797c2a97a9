"""What a service leaves in $LOSSBOARD_DIR for others of the same user: its address and its token."""

import json
import os
import secrets
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lossboard_server.settings import SettingError, check_token


@dataclass(frozen=True)
class Service:
    """One running service, as its file in `services/` tells it.

    Units: pid_started in clock ticks since boot (field 22 of /proc/pid/stat), None where
    the system doesn't tell; with it, a pid that was given to another process is noticed.
    `node` is the machine's name: home folders are often shared, and a pid means nothing elsewhere.
    """

    url: str
    host: str
    port: int
    pid: int
    pid_started: int | None
    token: str | None
    started_unix_s: float
    database: str
    node: str


def write_service(folder: Path, service: Service) -> Path:
    """Write the service's file, whole or not at all, readable by this user only."""
    services = folder / "services"
    make_private_folder(services)
    path = services / f"{service.port}.json"
    _write_private(path, json.dumps(asdict(service), indent=1) + "\n")
    return path


def remove_service(folder: Path, service: Service) -> None:
    """Remove the service's file, unless another process has taken its place."""
    path = folder / "services" / f"{service.port}.json"
    found = _read_service(path)
    if found is not None and (found.pid, found.pid_started) == (service.pid, service.pid_started):
        path.unlink(missing_ok=True)


def live_services(folder: Path) -> list[Service]:
    """Return this machine's services whose process lives, newest first.

    What a kill left behind is removed, but never the file of another machine.
    """
    live = []
    for path in (folder / "services").glob("*.json"):
        service = _read_service(path)
        if service is None or service.node != socket.gethostname():
            continue
        if is_alive(service.pid, service.pid_started):
            live.append(service)
        else:
            path.unlink(missing_ok=True)
    return sorted(live, key=lambda service: service.started_unix_s, reverse=True)


def keep_token(folder: Path) -> str:
    """Return the token in the folder's file, made at the first call.

    Raises: SettingError when the file holds no usable token.
    """
    make_private_folder(folder)
    path = token_path(folder)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        path.chmod(0o600)
        try:
            return check_token(_read_patiently(path))
        except (SettingError, UnicodeDecodeError) as error:
            raise SettingError(f"{path}: {error} Remove the file and a new one is made.") from None
    token = secrets.token_urlsafe(32)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(token + "\n")
    return token


def _read_patiently(path: Path) -> str:
    # Two services that start at once in a new folder: the second may find the file still empty.
    deadline = time.monotonic() + 1
    while not (text := path.read_text(encoding="utf-8").strip()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return text


def token_path(folder: Path) -> Path:
    """Return where the folder's token is kept."""
    return folder / "token"


def make_private_folder(folder: Path) -> None:
    """Make a folder and its parents; only this user may enter it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def process_start(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; None where it is gone or nobody tells."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before may hold spaces and brackets
    # A killed process keeps its entry until its parent asks for it, which may be never.
    return None if fields[0] in "ZX" else int(fields[19])


def is_alive(pid: int, started: int | None) -> bool:
    """Tell whether this very process still runs."""
    if started is not None and sys.platform == "linux":
        return process_start(pid) == started
    if sys.platform == "win32":
        return True  # os.kill(pid, 0) would end it there; healthz tells
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _read_service(path: Path) -> Service | None:
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # removed meanwhile, or not ours to read
    if not isinstance(data, Mapping):
        return None
    try:
        return Service(**{name: data[name] for name in Service.__dataclass_fields__})
    except KeyError:
        return None


def _write_private(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
