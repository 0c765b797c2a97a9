"""The one shape of every failure, application/problem+json, and the page a browser gets instead."""

import html
import logging
import secrets
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lossboard.wire import RecordError
from lossboard_server.errors import BadRequest, FieldError, InvalidInput, LossboardError, Unauthorized

MAX_FIELD_ERRORS: Final = 20  # a request of 10,000 wrong rows is answered with the first 20
DETAILS: Final = {
    404: "There is nothing at this address; /docs lists what there is.",
    405: "This address does not take this method; /docs lists what it takes.",
}

_log = logging.getLogger("lossboard_server")


def install_problem_handlers(app: FastAPI) -> None:
    """Make every failure of the app a problem: ours, Starlette's, FastAPI's and the unexpected."""
    app.add_exception_handler(LossboardError, _on_our_error)
    app.add_exception_handler(RecordError, _on_record_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_middleware(UnexpectedFailures)


class UnexpectedFailures:
    """Answer what no handler knows with a 500 that tells only the request's id; the log has the rest.

    A middleware and no handler for `Exception`: Starlette runs that one outside of all
    middleware, where the doors could not put their headers on its answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and answer for what it raises."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        has_begun = False

        async def watch_start(message: Message) -> None:
            nonlocal has_begun
            has_begun = has_begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watch_start)
        except ClientDisconnect:
            _log.debug("request %s: the caller went away", request_id(scope))
        except Exception:
            _log.exception("request %s failed: %s %s", request_id(scope), scope["method"], scope["path"])
            if has_begun:
                raise  # the server must cut the connection: half an answer must not look whole
            failure = LossboardError("The service failed; its log has the cause under this request_id.")
            await problem_response(scope, failure)(scope, receive, send)


def request_id(scope: Scope) -> str:
    """Return the request's id, making it at the first call."""
    state: dict[str, Any] = scope.setdefault("state", {})
    return str(state.setdefault("request_id", secrets.token_hex(8)))


def problem_response(scope: Scope, error: LossboardError) -> Response:
    """Format one failure as application/problem+json."""
    return _problem(scope, error.status, error.code, error.title, error.detail, error.errors, error.headers)


def problem_page(error: LossboardError) -> Response:
    """Format one failure for a person at a browser: a page without scripts."""
    title = "This browser is not logged in" if isinstance(error, Unauthorized) else error.title
    headers = {**error.headers, "Cache-Control": "no-store"}
    text = _PAGE.format(title=html.escape(title), text=mark_code(error.detail))
    return HTMLResponse(text, error.status, headers)


def mark_code(text: str) -> str:
    """Escape a text for HTML and set what stands between backquotes as code."""
    parts = html.escape(text).split("`")
    return "".join(f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts))


def wants_page(scope: Scope) -> bool:
    """Tell whether a person at a browser waits for the answer: it asks for HTML, outside of /api."""
    accept = b",".join(value for name, value in scope["headers"] if name == b"accept")
    return b"text/html" in accept and not scope["path"].startswith("/api/")


def _problem(
    scope: Scope,
    status: int,
    code: str,
    title: str,
    detail: str,
    errors: Sequence[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    body: dict[str, Any] = {
        "type": f"/docs#{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id(scope),
    }
    if errors:
        body["errors"] = [error._asdict() for error in errors[:MAX_FIELD_ERRORS]]
    return JSONResponse(body, status, headers, media_type="application/problem+json")


async def _on_our_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, LossboardError)
    return problem_response(request.scope, error)


async def _on_record_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RecordError)
    wrong = InvalidInput(str(error), [FieldError(error.field, error.message)])
    return problem_response(request.scope, wrong)


async def _on_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    title = HTTPStatus(error.status_code).phrase
    code = title.lower().replace(" ", "-").replace("'", "")
    detail = DETAILS.get(error.status_code, str(error.detail))
    return _problem(request.scope, error.status_code, code, title, detail, headers=error.headers)


async def _on_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = [(_field(item["loc"]), str(item["msg"])) for item in error.errors()]
    if any(item["type"] == "json_invalid" for item in error.errors()):
        return problem_response(request.scope, BadRequest(f"The body is not JSON: {found[0][1]}."))
    errors = [FieldError(field, message) for field, message in found]
    detail = f"{errors[0].field}: {errors[0].message}"
    return problem_response(request.scope, InvalidInput(detail, errors))


def _field(location: Sequence[str | int]) -> str:
    """Write ("body", "records", 17, "epoch") as records[17].epoch."""
    name = ""
    for part in location[1:]:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else part
    return name or str(location[0])


_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title} – Lossboard</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 16vh auto 0; max-width: 34rem; padding: 0 24px; }}
h1 {{ font-size: 20px; font-weight: 600; }}
code {{ font: 14px ui-monospace, monospace; background: #8882; padding: 2px 6px; border-radius: 4px; }}
</style></head>
<body><main><h1>{title}</h1><p>{text}</p></main></body></html>
"""
