"""Curves of what later attempts hide, as those saw it who watched then; never part of any number."""

from collections.abc import Iterator
from typing import Any

from lossboard_server.api.views.epoch_curves import draw_epochs
from lossboard_server.api.views.pass_curves import PassCurves
from lossboard_server.api.views.reader import Request, RunReader, tell_epoch
from lossboard_server.api.views.record_curves import RecordCurves
from lossboard_server.domain.attempts import Hidden, Stretch
from lossboard_server.domain.curves import Standing
from lossboard_server.domain.summary import merge_all
from lossboard_server.store.reading.budget import Budget
from lossboard_server.store.reading.epochs import Epoch, read_epochs
from lossboard_server.store.reading.progress import Progress
from lossboard_server.store.reading.series import Series, read_hidden

MAX_ATTEMPTS = 12  # of one run, the newest: each costs about what the run's curves cost


def draw_hidden(reader: RunReader, wanted: Request) -> Iterator[dict[str, Any]]:
    """Yield the hidden stretches of a run's newest attempts as the wire's columns."""
    for hidden in read_hidden(reader.connection, reader.run.key, set(reader.hidden))[-MAX_ATTEMPTS:]:
        apart = _Apart(reader, wanted, hidden)
        for series in reader.wanted_series:
            drawn = apart.draw(series)
            if drawn is not None:
                yield drawn


class _Apart:
    """One attempt's hidden stretch, and the run as it was seen before later attempts began."""

    def __init__(self, reader: RunReader, wanted: Request, hidden: Hidden) -> None:
        self._hidden = hidden
        self._wanted = wanted
        self._run = reader
        self._seen = self._show(hidden.seen)
        self._own = self._show(hidden.stretches)
        trained = [self._seen.epochs(series) for series in self._seen.all_series if series.is_train]
        # It went on from epoch to epoch; whether its last was complete nobody knows any more.
        newest = max((epochs[-1].epoch for epochs in trained if epochs), default=-1)
        self._seen.progress = self._own.progress = Progress({0: newest}, set())

    def draw(self, series: Series) -> dict[str, Any] | None:
        """Return a series' hidden stretch; None where nothing of it is hidden."""
        own = series.showing(self._hidden.stretches)
        epochs = self._own.epochs(own)
        if not epochs:
            return None
        if self._wanted.x != "epoch" and series.is_train:
            curve = RecordCurves(self._own, {series.name: self._stand_before(series)}).draw(own)
        else:
            curve = self._cut_out(series.showing(self._hidden.seen), epochs)
        first = epochs[0]
        end = self._run.all_series[0].stretches[self._hidden.key].end
        return curve | {
            "attempt": series.order[self._hidden.key] + 1,
            "from_epoch": tell_epoch(first.epoch),
            "from_batch": end[1] if end is not None and end[0] == first.epoch else 0,
            "records": sum(epoch.seen for epoch in epochs),
        }

    def _show(self, stretches: dict[int, Stretch]) -> RunReader:
        reader = RunReader(
            self._run.connection, self._run.run, self._wanted, Budget(0, self._run.budget.memo)
        )
        reader.all_series = [series.showing(stretches) for series in self._run.all_series]
        return reader

    def _stand_before(self, series: Series) -> Standing:
        """Return where training stood when the hidden stretch began."""
        standing = Standing()
        for epoch in read_epochs(self._run.connection, series.showing(self._hidden.before)):
            standing = standing.after(merge_all(epoch.ranks.values()), len(epoch.ranks))
        return standing

    def _cut_out(self, seen: Series, epochs: list[Epoch]) -> dict[str, Any]:
        """Draw a series as it was seen, and keep the points of what is hidden now."""
        records = RecordCurves(self._seen)
        is_epochs = self._wanted.x == "epoch"
        passes = PassCurves(self._seen, records)
        curve = draw_epochs(self._seen, records, seen) if is_epochs else passes.draw(seen)
        hidden = {epoch.place for epoch in epochs}
        kept = [
            number
            for number, epoch in enumerate(self._seen.epochs(seen))
            if epoch.place in hidden and epoch.attempt in (None, self._hidden.key)
        ]

        def keep(column: Any) -> Any:
            return [column[number] for number in kept] if isinstance(column, list) else column

        views = {name: keep(column) for name, column in curve["views"].items()}
        columns = {name: keep(column) for name, column in curve.items() if name not in ("views", "events")}
        return columns | {"views": views, "events": [], "shown": len(kept)}
