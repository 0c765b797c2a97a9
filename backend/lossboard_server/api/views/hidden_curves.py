"""Curves of what later attempts hide, as those saw it who watched then; never part of any number."""

from collections.abc import Iterator
from typing import Any

from lossboard_server.api.views.epoch_curves import draw_epochs
from lossboard_server.api.views.pass_curves import PassCurves
from lossboard_server.api.views.reader import Request, RunReader, tell_epoch
from lossboard_server.api.views.record_curves import RecordCurves
from lossboard_server.api.views.span_curves import told_laps
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
        self._own = self._show(hidden.stretches)
        numbers = [epoch.epoch for series in self._own.all_series for epoch in self._own.epochs(series)]
        self._seen = self._show(hidden.seen)
        if numbers and min(numbers) >= 0:  # one by one, however many epochs came before
            self._seen.only = min(numbers), max(numbers)
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
        own = {
            epoch.place
            for epoch in self._seen.epochs(seen)
            if epoch.place in hidden and epoch.attempt in (None, self._hidden.key)
        }
        laps = told_laps(self._seen, seen) if is_epochs else self._seen.laps(seen)
        first, last = epochs[0].epoch, epochs[-1].epoch
        kept = [
            number
            for number, lap in enumerate(laps)
            if (lap.place in own if lap.width == 1 else first <= lap.begin and lap.place[0] <= last)
        ]

        def keep(column: Any) -> Any:
            return [column[number] for number in kept] if isinstance(column, list) else column

        cut = {name: keep(column) for name, column in curve.items() if name != "events"}
        cut["views"] = {name: keep(column) for name, column in curve["views"].items()}
        if curve.get("bands"):
            cut["bands"] = {
                name: {side: keep(column) for side, column in band.items()}
                for name, band in curve["bands"].items()
            }
        return cut | {"events": [], "shown": len(kept)}
