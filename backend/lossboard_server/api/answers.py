"""Answers of the routes: JSON, and what callers keep a copy of."""

from typing import Any

from starlette.responses import Response

from lossboard_server.api.views.chart import Drawn
from lossboard_server.api.views.encoding import write_json


def answer_json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer with JSON."""
    return answer_written(write_json(value), status, headers)


def answer_written(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer with JSON that was written before."""
    return Response(body, status, headers, media_type="application/json")


def answer_drawn(drawn: Drawn) -> Response:
    """Answer with JSON that a browser keeps; 304 where it has this very answer."""
    headers = {"ETag": drawn.etag, "Cache-Control": "no-cache"}
    if drawn.body is None:
        return Response(status_code=304, headers=headers)
    return answer_written(drawn.body, headers=headers)
