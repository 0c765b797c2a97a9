"""The route of curves: of several runs as columns, with the reasons why they can't be compared."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from lossboard import wire
from lossboard_server.api.answers import answer_drawn
from lossboard_server.api.readers import Readers
from lossboard_server.api.views.baseline import check_baseline
from lossboard_server.api.views.chart import Question, draw_chart
from lossboard_server.api.views.reader import Request as Wanted

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
async def get_curves(
    request: Request,
    run: Annotated[list[str], Query(min_length=1, max_length=MAX_RUNS)],
    series: Annotated[list[str] | None, Query(max_length=50)] = None,
    x: Axis = "epoch",
    view: Annotated[list[View] | None, Query()] = None,
    points: Annotated[int, Query(ge=4, le=5000)] = 1000,
    first: Annotated[float | None, Query(alias="from", allow_inf_nan=False)] = None,
    last: Annotated[float | None, Query(alias="to", allow_inf_nan=False)] = None,
    smooth: Annotated[float | None, Query(gt=0, allow_inf_nan=False)] = None,
    baseline: str | None = None,
    since: Annotated[str | None, Query(max_length=4000)] = None,
    hidden: Literal["no", "show"] = "no",
) -> Response:
    """Draw curves, decimated so that no extreme is lost.

    With `since`, the cursor of an answer to the same question, only what changed after it: of a
    curve that is told replace everything from its `from_x`, what is not told is as it was.
    `reset`: forget all that is there. That is so where buckets become wider, where an attempt or a
    series began, and where a run or what its numbers mean is called otherwise.

    `smooth` is a half-life in items: on axes other than epoch the view `smooth` comes with it,
    for the eye only. A step objective that needs the records one by one is told of the newest
    epochs, up to 100,000 records a request.

    `baseline` names a run, on the chart or not: each curve has `differences` then, by view, how far
    it lies above that run's curve at the same place; null where that has nothing.

    `hidden=show` adds under `hidden` what later attempts of a resumed run hide, as curves of their
    own: of each attempt the page as its viewers saw it, from where a later one began anew.
    """
    for run_id in (*run, *((baseline,) if baseline else ())):
        wire.check_run_id(run_id)
    if baseline:
        check_baseline(x)
    wanted = Wanted(x, tuple(view or ()), tuple(series or ()), points, first, last, smooth)
    known = request.headers.get("if-none-match", "")
    question = Question(tuple(run), wanted, baseline or None, hidden == "show", since, known)
    readers: Readers = request.app.state.readers
    return answer_drawn(await readers.ask(draw_chart, question))
