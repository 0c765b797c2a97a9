"""The doors: who may call the service at all. Closed by default, whatever routes come later.

A pure ASGI middleware, since Starlette's BaseHTTPMiddleware would sit between an event
stream and its reader. It must be the outermost one, so that no answer leaves without
the headers that it puts on.
"""

import ipaddress
import socket
import time
from typing import Final
from urllib.parse import urlsplit

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lossboard_server.api.keys import Keys
from lossboard_server.api.problems import problem_page, problem_response, request_id, wants_page
from lossboard_server.errors import Forbidden, LossboardError, Unauthorized
from lossboard_server.settings import Settings, host_name, is_loopback

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/login"})
SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def install_doors(app: FastAPI, settings: Settings) -> None:
    """Put the doors around the app; call it last, so that nothing lies outside of them.

    Raises: ValueError without a token unless the settings say no_token: an app that
    forgot its token must not start open.
    """
    if settings.token is None and not settings.no_token:
        raise ValueError("settings have no token: read the token file first, or set no_token")
    keys = Keys(None if settings.no_token else settings.token, settings.port)
    app.state.keys = keys
    app.add_middleware(Doors, keys=keys, hosts=Hosts(settings.host, settings.allowed_hosts))


class Hosts:
    """The names by which this service may be called.

    Against DNS rebinding: a page of evil.example can point its own name at 127.0.0.1, and
    then only the Host header tells its requests from ours. An address in numbers can't be
    pointed elsewhere, so those are fine where the service listens beyond this machine.
    """

    def __init__(self, bound: str, allowed: tuple[str, ...]) -> None:
        self._names = {"localhost", *allowed}
        self._takes_addresses = not is_loopback(bound)
        if bound in ("0.0.0.0", "::", ""):
            self._names.add(socket.gethostname().lower())
        else:
            self._names.add(bound.lower())

    def is_ours(self, header: str) -> bool:
        """Tell whether a Host header names this service."""
        name = host_name(header)
        if name is None:
            return False
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        # Browsers of some systems route 0.0.0.0 to this machine; nobody types it.
        return address.is_loopback or (self._takes_addresses and not address.is_unspecified)


class Doors:
    """Let in who calls by a known name, from no foreign page, and shows the token or the cookie."""

    def __init__(self, app: ASGIApp, keys: Keys, hosts: Hosts) -> None:
        self.app = app
        self.keys = keys
        self.hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may come in and answer the rest."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})  # we have none to open
            return
        send = _with_headers(scope, send)
        try:
            self._check(scope)
        except LossboardError as refusal:
            await _refuse(scope, refusal)(scope, receive, send)
            return
        await self.app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        names = headers.getlist("host")
        if len(names) != 1 or not self.hosts.is_ours(names[0]):
            raise Forbidden(
                "This service is not called by that name. If the name is yours, start it with "
                "`lossboard serve --allowed-hosts NAME`."
            )
        is_safe = scope["method"] in SAFE_METHODS
        if is_foreign(headers, is_safe=is_safe):
            raise Forbidden(
                "This request comes from a page of another origin; only the service's own may ask."
            )
        if self.keys.token is None or scope["path"] in OPEN_PATHS:
            return
        scheme, _, shown = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self.keys.is_token(shown.strip()):
            return
        if not self.keys.is_cookie("; ".join(headers.getlist("cookie")), time.time()):
            raise _unauthorized(scope)
        # A browser always says where a change comes from; without that, the cookie alone changes nothing.
        if not is_safe and "origin" not in headers and "sec-fetch-site" not in headers:
            raise Forbidden("A change with the cookie needs an Origin header; or send the token.")


def is_foreign(headers: Headers, *, is_safe: bool) -> bool:
    """Tell whether a page of another origin sent the request; following a link to us is not foreign."""
    site = headers.get("sec-fetch-site", "none")
    origin = headers.get("origin")
    if origin == "null":  # a form under no-referrer; only the browser itself can vouch for it
        return site != "same-origin"
    if origin is not None and _host_of(origin) != headers["host"].lower():
        return True
    if site in ("same-origin", "none"):
        return False
    is_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return not (is_safe and is_link)


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None  # "http://[" and its like: no address at all, so not ours


def _unauthorized(scope: Scope) -> Unauthorized:
    if wants_page(scope):
        return Unauthorized(
            "Run `lossboard open` on the machine that serves, and follow its link in this browser."
        )
    return Unauthorized(
        "Send the service's token as `Authorization: Bearer TOKEN`; `lossboard token` prints it.",
        headers={"WWW-Authenticate": "Bearer"},
    )


def _refuse(scope: Scope, refusal: LossboardError) -> Response:
    return problem_page(refusal) if wants_page(scope) else problem_response(scope, refusal)


def _with_headers(scope: Scope, send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in SECURITY_HEADERS.items():
                headers[name] = value
            headers["X-Request-Id"] = request_id(scope)
        await send(message)

    return send_with_headers
