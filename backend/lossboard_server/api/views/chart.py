"""The curves of several runs as one answer, with the reasons why they can't be compared."""

import hashlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection

from lossboard_server import __version__
from lossboard_server.api.views.baseline import add_differences
from lossboard_server.api.views.drawing import Request, RunDrawing
from lossboard_server.api.views.encoding import write_json
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
from lossboard_server.store.reader import Reader
from lossboard_server.store.reading.budget import Budget, Memo
from lossboard_server.store.writing.register import find_run


@dataclass(slots=True)
class Question:
    """What is asked of a chart."""

    runs: tuple[str, ...]
    wanted: Request
    baseline: str | None = None
    """The run that differences are drawn to."""
    has_hidden: bool = False
    """Whether what later attempts hide is drawn as well."""
    since: str | None = None
    """The cursor of an answer that the caller has."""
    known: str = ""
    """The ETags of answers that the caller has."""

    @property
    def name(self) -> str:
        """A short name of all that decides what curves are drawn, but for what the caller has."""
        return name_question((self.runs, astuple(self.wanted), self.baseline, self.has_hidden))

    @property
    def cursor(self) -> Cursor | None:
        """What the caller has, if it can be told as an end to that what changed."""
        wanted = self.wanted
        is_whole = wanted.first_x is None and wanted.last_x is None
        if self.since is None or self.has_hidden or self.baseline is not None or not is_whole:
            return None
        cursor = read_cursor(self.since)
        return cursor if cursor is not None and cursor.question == self.name else None


class Drawn(NamedTuple):
    """An answer of which callers keep a copy."""

    etag: str
    body: bytes | None
    """None: the caller has it."""


def draw_chart(reader: Reader, question: Question) -> Drawn:
    """Draw the curves of a question, or what changed of them. Raises: RunNotFound."""
    with reader.look() as connection:
        found = [find_run(connection, run_id) for run_id in dict.fromkeys(question.runs)]
        base = None if question.baseline is None else find_run(connection, question.baseline)
        etag = _hash(question, found if base is None else [*found, base])
        if etag in question.known:
            return Drawn(etag, None)
        cursor, name = question.cursor, question.name
        chart = _Chart(connection, found, question.wanted, reader.memo)
        answer = None if cursor is None else chart.follow(cursor)
        if answer is None:
            answer = chart.draw(name, base, has_hidden=question.has_hidden)
    return Drawn(etag, write_json(answer))


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


def _hash(question: Question, runs: list[Any]) -> str:
    versions = "_".join(f"{run.key}.{run.version}" for run in runs)
    told = f"{__version__} {question.name} {question.since} {versions}"
    return f'"{hashlib.sha256(told.encode()).hexdigest()[:32]}"'
