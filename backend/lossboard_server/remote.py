"""The command line's way to a running service: find it, make sure of it, ask it."""

import hmac
import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from lossboard.wire import prove
from lossboard_server.ports import ask_health, direct
from lossboard_server.services import live_services
from lossboard_server.settings import is_loopback

ASK_TIMEOUT_S: Final = 10.0


class RemoteError(Exception):
    """No service, or it refused; the message says what to do."""


class BusyError(RemoteError):
    """The service is there and asks to be asked again in a moment."""


class Remote(NamedTuple):
    """A service that can be asked."""

    url: str
    token: str | None


def find_service(
    folder: Path, environ: Mapping[str, str], port: int | None = None, database: str | None = None
) -> Remote:
    """Return the service named by $LOSSBOARD_URL, else the newest live one of this user.

    `database` asks for one that keeps its records there, named as its services file has it.

    A named address without $LOSSBOARD_TOKEN takes the token of this user's service there. On this
    machine a service must first prove that it holds the token: somebody else may have its port.

    Raises: RemoteError when there is none.
    """
    url = environ.get("LOSSBOARD_URL", "").rstrip("/")
    if url and port is None:
        return _take_named(url, environ.get("LOSSBOARD_TOKEN"), folder)
    for service in live_services(folder):
        is_meant = port in (None, service.port) and database in (None, service.database)
        if is_meant and _is_genuine(service.url, service.token):
            return Remote(service.url, service.token)
    where = f" on port {port}" if port is not None else ""
    raise RemoteError(f"No Lossboard of yours runs{where}. Start one: lossboard serve")


def ask(
    remote: Remote, method: str, path: str, body: bytes | None = None, timeout_s: float = ASK_TIMEOUT_S
) -> Any:
    """Ask the service for JSON.

    Raises: RemoteError with the service's own words when it refuses; BusyError when it says to wait.
    """
    headers = {"Accept": "application/json"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    if remote.token:
        headers["Authorization"] = f"Bearer {remote.token}"
    request = urllib.request.Request(remote.url + path, data=body, method=method, headers=headers)
    try:
        with direct.open(request, timeout=timeout_s) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            refused = BusyError if error.code in (429, 503) else RemoteError
            raise refused(read_refusal(error)) from None
    except (OSError, ValueError) as error:
        raise RemoteError(f"{remote.url} does not answer as a Lossboard does: {error}") from None


def _take_named(url: str, token: str | None, folder: Path) -> Remote:
    token = token or next((service.token for service in live_services(folder) if service.url == url), None)
    if token and is_loopback(urlsplit(url).hostname or "") and not _is_genuine(url, token):
        raise RemoteError(f"What answers at {url} holds another token; `lossboard token` prints this user's.")
    return Remote(url, token)


def _is_genuine(url: str, token: str | None) -> bool:
    nonce = secrets.token_hex(16)
    health = ask_health(url, nonce)
    if health is None:
        return False
    return token is None or hmac.compare_digest(
        str(health.get("proof", "")).encode(), prove(token, nonce).encode()
    )


def read_refusal(error: urllib.error.HTTPError) -> str:
    """Return the service's own words for why it refused."""
    try:
        return str(json.load(error)["detail"])
    except (ValueError, KeyError, TypeError):
        return f"The service answered {error.code} {error.reason}."
