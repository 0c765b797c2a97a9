"""The curves of several runs as columns, with the reasons why they can't be compared."""

import hashlib
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi import Request as HttpRequest
from sqlalchemy import Connection
from starlette.responses import Response

from lossboard import wire
from lossboard_server import __version__
from lossboard_server.api.answers import answer_cached
from lossboard_server.api.drawing import Request, RunDrawing
from lossboard_server.domain.comparability import compare
from lossboard_server.domain.noise import MAX_ROWS
from lossboard_server.store.budget import Budget, Memo
from lossboard_server.store.register import find_run
from lossboard_server.store.store import Store

router = APIRouter(prefix=wire.API_PREFIX, tags=["views"])

Axis = Literal["epoch", "batch", "items", "tokens", "step", "time"]
View = Literal[
    "raw_sum",
    "normalized_sum",
    "batch_mean",
    "per_item",
    "size_weighted",
    "step_objective",
    "batch",
    "running",
    "smooth",
]
MAX_RUNS = 50


@router.get("/curves")
def get_curves(
    request: HttpRequest,
    run: Annotated[list[str], Query(min_length=1, max_length=MAX_RUNS)],
    series: Annotated[list[str] | None, Query(max_length=50)] = None,
    x: Axis = "epoch",
    view: Annotated[list[View] | None, Query()] = None,
    points: Annotated[int, Query(ge=4, le=5000)] = 1000,
    first: Annotated[float | None, Query(alias="from", allow_inf_nan=False)] = None,
    last: Annotated[float | None, Query(alias="to", allow_inf_nan=False)] = None,
    smooth: Annotated[float | None, Query(gt=0, allow_inf_nan=False)] = None,
    since: Annotated[str | None, Query(max_length=4000)] = None,
    hidden: Literal["no", "show"] = "no",
) -> Response:
    """Draw curves, decimated so that no extreme is lost; with `since`, nothing where nothing changed.

    `smooth` is a half-life in items: on axes other than epoch the view `smooth` comes with it,
    for the eye only. A step objective that needs the records one by one is told of the newest
    epochs, up to 100,000 records a request.

    `hidden=show` adds under `hidden` what later attempts of a resumed run hide, as curves of their
    own: of each attempt the page as its viewers saw it, from where a later one began anew.
    """
    for run_id in run:
        wire.check_run_id(run_id)
    wanted = Request(x, tuple(view or ()), tuple(series or ()), points, first, last, smooth)
    store: Store = request.app.state.store
    with store.reading() as connection:
        found = [find_run(connection, run_id) for run_id in dict.fromkeys(run)]
        cursor = "_".join(f"{row.key}.{row.version}" for row in found)
        etag = _hash(request.url.query, cursor)
        if etag in request.headers.get("if-none-match", ""):
            return answer_cached(request, None, etag)
        if since == cursor:
            answer = {"cursor": cursor, "x": x, "reset": False, "from_x": None, "curves": [], "warnings": []}
        else:
            answer = {
                "cursor": cursor,
                "x": x,
                "reset": True,
                "from_x": None,
                **_draw(connection, found, wanted, store.memo, has_hidden=hidden == "show"),
            }
    return answer_cached(request, answer, etag)


def _draw(
    connection: Connection, runs: list[Any], wanted: Request, memo: Memo, *, has_hidden: bool
) -> dict[str, Any]:
    share = MAX_ROWS // len(runs)
    drawings = [RunDrawing(connection, run, wanted, Budget(share, memo)) for run in runs]
    if wanted.x != "epoch" and len(drawings) > 1:
        wanted.least_width = max(drawing.width() for drawing in drawings)
    facts = [fact for drawing in drawings for fact in drawing.facts()]
    warnings = [*compare(facts), *(note for drawing in drawings for note in drawing.notes())]
    drawn = {
        "curves": [curve for drawing in drawings for curve in drawing.curves()],
        "warnings": [warning.as_json() for warning in warnings],
    }
    if has_hidden:
        drawn["hidden"] = [curve for drawing in drawings for curve in drawing.hidden()]
    return drawn


def _hash(query: str, cursor: str) -> str:
    return f'"{hashlib.sha256(f"{__version__} {query} {cursor}".encode()).hexdigest()[:32]}"'
