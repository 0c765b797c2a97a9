"""Drawing the curves of a request, one run at a time."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from lossboard_server.api.epoch_curves import draw_epochs
from lossboard_server.api.facts import gather_facts
from lossboard_server.api.hidden_curves import draw_hidden
from lossboard_server.api.marks import mark_attempts, note_attempts
from lossboard_server.api.reader import Request, RunReader
from lossboard_server.api.record_curves import RecordCurves
from lossboard_server.domain.comparing.facts import Facts, Reason
from lossboard_server.store.budget import Budget

__all__ = ["Request", "RunDrawing"]


class RunDrawing:
    """One run as its curves are drawn: its series read once, whatever is asked of them."""

    def __init__(
        self, connection: Connection, run: Any, wanted: Request, budget: Budget | None = None
    ) -> None:
        self._reader = RunReader(connection, run, wanted, Budget() if budget is None else budget)
        self._records = RecordCurves(self._reader)

    def curves(self) -> Iterator[dict[str, Any]]:
        """Yield each wanted series of this run as the wire's columns."""
        for series in self._reader.wanted_series:
            if self._reader.wanted.x == "epoch":
                drawn = draw_epochs(self._reader, self._records, series)
            else:
                drawn = self._records.draw(series)
            yield drawn | {"attempts": mark_attempts(self._reader, series)}

    def hidden(self) -> Iterator[dict[str, Any]]:
        """Yield what later attempts hide of this run's newest attempts, no finer than its curves."""
        reader = self._reader
        for series in reader.wanted_series:
            reader.epochs(series)  # which counts what is hidden
        if reader.hidden:
            width = 1 if reader.wanted.x == "epoch" else self.width()
            wanted = replace(reader.wanted, least_width=max(width, reader.wanted.least_width), half_life=None)
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
