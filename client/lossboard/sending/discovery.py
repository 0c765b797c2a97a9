"""Which service to send to: the one that was named, else the newest that lives on this machine."""

import json
import os
from pathlib import Path
from typing import Any, Final, NamedTuple

from lossboard.identity import is_alive
from lossboard.sending.addresses import is_same_place
from lossboard.settings import check_url

MAX_FILE_BYTES: Final = 65_536  # of a services file; ours have about 300


class Service(NamedTuple):
    """An address and the token for it; None where the service asks for none."""

    url: str
    token: str | None


def find_service(folder: Path, url: str | None, token: str | None) -> Service | None:
    """Return the service that settings name, else the newest live one of `folder`, else None.

    A named address without a token takes the token of the local service at that address.
    Files only: nothing is sent.
    """
    local = read_services(folder)
    if url is None:
        return local[0]._replace(token=token or local[0].token) if local else None
    if token is None:
        token = next((service.token for service in local if is_same_place(service.url, url)), None)
    return Service(url, token)


def read_services(folder: Path) -> list[Service]:
    """Return the services of this machine whose process lives, the newest first."""
    found: list[tuple[float, Service]] = []
    try:
        paths = sorted((folder / "services").glob("*.json"))
    except OSError:
        return []  # no such name can be, or its disk is gone; whoever asks again asks anew
    for path in paths:
        entry = _read_entry(path)
        if entry is not None:
            found.append(entry)
    found.sort(key=lambda item: item[0], reverse=True)
    return [service for _, service in found]


def _read_entry(path: Path) -> tuple[float, Service] | None:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not _is_ours(status):
                return None
            entry: Any = json.loads(file.read(MAX_FILE_BYTES))
        pid, started, token = entry["pid"], entry.get("pid_started"), entry.get("token")
        if type(pid) is not int or not isinstance(token, str | None):
            return None
        url = check_url(entry["url"])
        newest = float(entry.get("started_unix_s") or 0)
        return (newest, Service(url, token)) if is_alive(pid, started) else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # half-written, foreign or gone: it can't be the one that we look for


def _is_ours(status: os.stat_result) -> bool:
    """A file of another user, or one that others may write, could name anybody's service."""
    if not hasattr(os, "geteuid"):
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022
