"""The curves of several runs as columns, with the reasons why they can't be compared."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi import Request as HttpRequest
from sqlalchemy import Connection
from starlette.responses import Response

from lossboard import wire
from lossboard_server import __version__
from lossboard_server.api.answers import answer_cached
from lossboard_server.api.views.baseline import add_differences, check_baseline
from lossboard_server.api.views.drawing import Request, RunDrawing
from lossboard_server.api.views.following import (
    CannotFollowError,
    Cursor,
    Follow,
    follow_run,
    name_question,
    read_cursor,
)
from lossboard_server.domain.comparability import compare
from lossboard_server.domain.noise import MAX_ROWS
from lossboard_server.store.reading.budget import Budget, Memo
from lossboard_server.store.store import Store
from lossboard_server.store.writing.register import find_run

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
    wanted = Request(x, tuple(view or ()), tuple(series or ()), points, first, last, smooth)
    question = name_question((*run, x, view, series, points, first, last, smooth, baseline, hidden))
    store: Store = request.app.state.store
    with store.reading() as connection:
        found = [find_run(connection, run_id) for run_id in dict.fromkeys(run)]
        base = find_run(connection, baseline) if baseline else None
        etag = _hash(request.url.query, [*found, base] if base else found)
        if etag in request.headers.get("if-none-match", ""):
            return answer_cached(request, None, etag)
        chart = _Chart(connection, found, wanted, store.memo)
        cursor = read_cursor(since) if since and hidden == "no" and base is None else None
        answer = None
        if cursor is not None and cursor.question == question and first is None and last is None:
            answer = chart.follow(cursor)
        if answer is None:
            answer = chart.draw(question, base, has_hidden=hidden == "show")
    return answer_cached(request, answer, etag)


@dataclass(slots=True)
class _Chart:
    """The runs of one question."""

    connection: Connection
    runs: list[Any]
    wanted: Request
    memo: Memo

    def draw(self, question: str, baseline: Any = None, *, has_hidden: bool) -> dict[str, Any]:
        """Draw all of every curve, and how far each lies above a baseline's where one is given."""
        drawings = self._open([None] * len(self.runs))
        others = [] if baseline is None else [RunDrawing(self.connection, baseline, self.wanted)]
        self.wanted.least_span = max(drawing.span() for drawing in [*drawings, *others])
        width = max(each.width() for each in [*drawings, *others])  # over epochs passes stand by it
        self.wanted.least_width = width
        told: dict[str, Any] = {"from_x": None}
        told["curves"] = [curve for drawing in drawings for curve in drawing.curves()]
        for other in others:
            told["curves"] = list(add_differences(told["curves"], other.curves(), self.wanted.x))
            drawings += others if baseline.key not in {run.key for run in self.runs} else []
        if has_hidden:
            told["hidden"] = [curve for drawing in drawings for curve in drawing.hidden()]
        cursor = Cursor(question, width, self.wanted.least_span)
        return self._answer(cursor, drawings, told, is_reset=True)

    def follow(self, cursor: Cursor) -> dict[str, Any] | None:
        """Draw what changed since a cursor; None where all must be drawn anew."""
        if cursor.runs.keys() != {run.key for run in self.runs}:
            return None
        x = self.wanted.x
        self.wanted.least_width, self.wanted.least_span = cursor.width, cursor.span
        try:
            follows = [follow_run(self.connection, run, cursor.runs[run.key], x) for run in self.runs]
            drawings = self._open(follows)
            if any(drawing.span() > cursor.span for drawing in drawings):
                raise CannotFollowError
            curves = [curve for drawing in drawings for curve in drawing.curves()]
            cuts = [curve["from_x"] for curve in curves]
            told = {"from_x": min(cuts) if cuts and None not in cuts else None, "curves": curves}
            answer = self._answer(Cursor(cursor.question, cursor.width, cursor.span), drawings, told)
        except CannotFollowError:
            self.wanted.least_width = self.wanted.least_span = 1
            return None
        return answer

    def _open(self, follows: Sequence[Follow | None]) -> list[RunDrawing]:
        share = MAX_ROWS // len(self.runs)
        return [
            RunDrawing(self.connection, run, self.wanted, Budget(share, self.memo), follow)
            for run, follow in zip(self.runs, follows, strict=True)
        ]

    def _answer(
        self, cursor: Cursor, drawings: list[RunDrawing], told: dict[str, Any], *, is_reset: bool = False
    ) -> dict[str, Any]:
        facts = [fact for drawing in drawings for fact in drawing.facts()]
        warnings = [*compare(facts), *(note for drawing in drawings for note in drawing.notes())]
        # A baseline that is not on the chart stands behind the runs, for the warnings only.
        cursor.runs = {run.key: drawing.seen() for run, drawing in zip(self.runs, drawings, strict=False)}
        if any(seen.points > self.wanted.points for seen in cursor.runs.values()) and not is_reset:
            raise CannotFollowError  # a wider bucket may be due
        return {
            "cursor": str(cursor),
            "x": self.wanted.x,
            "reset": is_reset,
            **told,
            "warnings": [warning.as_json() for warning in warnings],
        }


def _hash(query: str, runs: list[Any]) -> str:
    versions = "_".join(f"{run.key}.{run.version}" for run in runs)
    return f'"{hashlib.sha256(f"{__version__} {query} {versions}".encode()).hexdigest()[:32]}"'
