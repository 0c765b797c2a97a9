"""Drawing the curves of a request, one run at a time."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from lossboard_server.api.views.epoch_curves import draw_epochs
from lossboard_server.api.views.facts import gather_facts
from lossboard_server.api.views.following import ENDED, CannotFollowError, Follow, Seen
from lossboard_server.api.views.hidden_curves import draw_hidden
from lossboard_server.api.views.marks import mark_attempts, note_attempts
from lossboard_server.api.views.pass_curves import PassCurves
from lossboard_server.api.views.reader import Request, RunReader
from lossboard_server.api.views.record_curves import RecordCurves
from lossboard_server.domain.comparing.facts import Facts, Reason
from lossboard_server.store.reading.budget import Budget
from lossboard_server.store.reading.series import Series

__all__ = ["Request", "RunDrawing"]


class RunDrawing:
    """One run as its curves are drawn: its series read once, whatever is asked of them."""

    def __init__(
        self,
        connection: Connection,
        run: Any,
        wanted: Request,
        budget: Budget | None = None,
        follow: Follow | None = None,
    ) -> None:
        self._reader = RunReader(connection, run, wanted, Budget() if budget is None else budget, follow)
        self._records = RecordCurves(self._reader)
        self._passes = PassCurves(self._reader, self._records)
        self._points = 0

    def curves(self) -> Iterator[dict[str, Any]]:
        """Yield each wanted series of this run as the wire's columns; for a follower what changed of them.

        Raises: CannotFollowError.
        """
        reader = self._reader
        if reader.follow is not None:
            if reader.wanted.x == "epoch" and reader.follow.is_set_back(self._find_incomplete()):
                raise CannotFollowError
            if not reader.follow.has_changed:
                return
            if self._moves_marks(reader.follow):
                raise CannotFollowError
        for series in reader.wanted_series:
            drawn = self._draw(series)
            if drawn is not None:
                # Over epochs the span alone says whether wider points are due.
                if series.is_train and reader.wanted.x != "epoch":
                    self._points = max(self._points, self._records.count(series))
                # A follower has the marks: where they may have moved, all is told anew.
                marks = {} if reader.follow else {"attempts": mark_attempts(reader, series)}
                yield drawn | marks

    def _draw(self, series: Series) -> dict[str, Any] | None:
        if self._reader.wanted.x == "epoch":
            return draw_epochs(self._reader, self._records, series)
        return (self._records if series.is_train else self._passes).draw_changed(series)

    def _moves_marks(self, follow: Follow) -> bool:
        """Whether the mark of an attempt's beginning may stand elsewhere now."""
        if not self._reader.all_series:
            return False
        series = self._reader.all_series[0]
        return any(
            follow.is_behind(attempt, series.stretches[attempt.key], self._reader.wanted.x)
            for attempt in series.attempts[1:]
        )

    def seen(self) -> Seen:
        """Tell what a page has of this run once its curves were drawn."""
        reader = self._reader
        before = 0 if reader.follow is None else reader.follow.seen.points
        return Seen(reader.run.version, self._find_incomplete(), self._points or before)

    def _find_incomplete(self) -> int:
        incomplete = self._reader.progress.first_incomplete
        return ENDED if incomplete is None else incomplete

    def span(self) -> int:
        """Return how many epochs a point spans, of the longest of the wanted series."""
        return max((self._reader.span(series) for series in self._reader.wanted_series), default=1)

    def hidden(self) -> Iterator[dict[str, Any]]:
        """Yield what later attempts hide of this run's newest ones, by batches no finer than its curves."""
        reader = self._reader
        for series in reader.wanted_series:
            reader.epochs(series)  # which counts what is hidden
        if reader.hidden:
            width = 1 if reader.wanted.x == "epoch" else self.width()
            width = max(width, reader.wanted.least_width)
            # Their epochs stand one by one where they fit: few of them would vanish in one point.
            wanted = replace(reader.wanted, least_width=width, least_span=1, half_life=None)
            yield from draw_hidden(reader, wanted)

    def width(self) -> int:
        """Return the bucket width, in batches, that the longest of the wanted training series needs."""
        return self._records.width()

    def facts(self) -> list[Facts]:
        """Tell what comparing this run needs to know, by split."""
        return list(gather_facts(self._reader))

    def notes(self) -> list[Reason]:
        """Tell what is to be known of this run's attempts."""
        return note_attempts(self._reader)
