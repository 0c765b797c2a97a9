"""How a browser comes in: a one-time link, exchanged for a cookie."""

import hashlib
import re
import secrets
import time
from typing import Annotated, Final, Protocol
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from lossboard_server.api.keys import COOKIE_LIFETIME_S, Keys
from lossboard_server.api.problems import problem_page, problem_response, wants_page
from lossboard_server.errors import Unauthorized

CODE_LIFETIME_S: Final = 600
# One slash and no second one or backslash, which browsers read as another site.
_OWN_PATH: Final = re.compile(r"/(?![/\\])[\x21-\x7e]*")

router = APIRouter(tags=["doors"])


class CodeStore(Protocol):
    """Where one-time codes are kept, as hashes: who reads the database can't come in."""

    def put_code(self, code_hash: str, expires_unix_s: float) -> None:
        """Keep a code until it is taken or expires."""

    def take_code(self, code_hash: str, now: float) -> bool:
        """Remove a code and tell whether it was there and had not expired."""


def make_login_path(codes: CodeStore, next_path: str = "/") -> str:
    """Mint a code and return the path and query that spend it."""
    code = secrets.token_urlsafe(32)
    codes.put_code(_hash(code), time.time() + CODE_LIFETIME_S)
    query = {"code": code} if next_path == "/" else {"code": code, "next": next_path}
    return f"/login?{urlencode(query)}"


@router.post("/login-links")
def make_login_link(
    request: Request,
    next: Annotated[str, Query(max_length=2000)] = "/",  # noqa: A002 – its name on the wire
) -> dict[str, str | int]:
    """Make a link that lets one browser in, once; `next` is the path it comes to."""
    path = make_login_path(request.app.state.codes, _own_path(next))
    return {"url": str(request.base_url).rstrip("/") + path, "expires_in_s": CODE_LIFETIME_S}


@router.get("/login", response_class=RedirectResponse, status_code=303)
def use_login_link(
    request: Request,
    code: Annotated[str, Query(max_length=200)] = "",
    next: Annotated[str, Query(max_length=2000)] = "/",  # noqa: A002 – its name on the wire
) -> Response:
    """Spend a one-time code: set the browser's cookie and go to the page."""
    keys: Keys = request.app.state.keys
    now = time.time()
    answer = RedirectResponse(_own_path(next), status_code=303, headers={"Cache-Control": "no-store"})
    if keys.token is None or keys.is_cookie(request.headers.get("cookie", ""), now):
        return answer  # a link followed twice by the same browser needs no second code
    if not request.app.state.codes.take_code(_hash(code), now):
        refusal = Unauthorized("This link was used or has expired. `lossboard open` makes a new one.")
        return (
            problem_page(refusal) if wants_page(request.scope) else problem_response(request.scope, refusal)
        )
    # Lax and not Strict: a link to a run, followed from a notebook or a chat, must find the
    # browser logged in. Changes are guarded by the Origin check of the doors.
    answer.set_cookie(
        keys.cookie_name,
        keys.sign_cookie(now),
        max_age=COOKIE_LIFETIME_S,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
    return answer


def _own_path(path: str) -> str:
    return path if _OWN_PATH.fullmatch(path) else "/"


def _hash(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
