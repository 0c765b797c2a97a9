"""One run as a request reads it: its series, their epochs and views, each read once."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from lossboard_server.domain.course import Leg
from lossboard_server.domain.curves import Standing
from lossboard_server.domain.summary import merge, merge_all
from lossboard_server.domain.views import EpochViews
from lossboard_server.store.budget import Budget
from lossboard_server.store.progress import Progress, read_progress
from lossboard_server.store.reading import Epoch, read_epochs, view
from lossboard_server.store.series import Series, read_series

OBJECTIVE = "step_objective"


@dataclass(slots=True)
class Request:
    """What curves are wanted: axis, views (empty: all that fit), points and range on the axis."""

    x: str
    views: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    points: int = 1000
    first_x: float | None = None
    last_x: float | None = None
    half_life: float | None = None
    """Of the smoothed view, in items; None: it is not wanted."""
    least_width: int = 1
    """In batches: a curve of every record beside one of buckets would look the noisier, and be a lie."""

    def wants(self, view: str) -> bool:
        """Whether a view is asked for."""
        return not self.views or view in self.views

    def select(self, columns: Mapping[str, list[float | None]]) -> dict[str, list[float | None]]:
        """Return the columns of the views asked for."""
        return {name: values for name, values in columns.items() if self.wants(name)}


@dataclass(slots=True)
class RunReader:
    """A run and what was read of it; `budget` bounds the records read for the step objective."""

    connection: Connection
    run: Any
    wanted: Request
    budget: Budget = field(default_factory=Budget)
    all_series: list[Series] = field(init=False)
    progress: Progress = field(init=False)
    hidden: Counter[int] = field(default_factory=Counter)
    """Records of the series read so far that later attempts hide, by the attempt's key."""
    _epochs: dict[str, list[Epoch]] = field(default_factory=dict)
    _views: dict[str, list[EpochViews]] = field(default_factory=dict)
    _legs: dict[str, dict[int, Leg]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.all_series = read_series(self.connection, self.run.key)
        self.progress = read_progress(self.connection, self.run)

    @property
    def wanted_series(self) -> list[Series]:
        """The series asked for, training first."""
        wanted = self.wanted.series
        return [series for series in self.all_series if not wanted or series.name in wanted]

    def epochs(self, series: Series) -> list[Epoch]:
        """Return a series' visible epochs, of validation every pass."""
        if series.name not in self._epochs:
            self._epochs[series.name] = read_epochs(self.connection, series, hidden=self.hidden)
        return self._epochs[series.name]

    def views(self, series: Series) -> list[EpochViews]:
        """Return the views of its epochs; the budget is spent on the newest first."""
        if series.name not in self._views:
            budget = self.budget if self.wanted.wants(OBJECTIVE) else Budget(0, self.budget.memo)
            newest_first = [
                view(self.connection, series, epoch, budget) for epoch in reversed(self.epochs(series))
            ]
            self._views[series.name] = newest_first[::-1]
        return self._views[series.name]

    def newest(self, series: Series) -> tuple[Epoch, EpochViews] | None:
        """Return its newest complete epoch, else its newest, with its views; None without any."""
        epochs = self.epochs(series)
        if not epochs:
            return None
        complete = [i for i, epoch in enumerate(epochs) if self.is_complete(epoch)]
        number = complete[-1] if complete else len(epochs) - 1
        if series.name in self._views:
            return epochs[number], self._views[series.name][number]
        return epochs[number], view(self.connection, series, epochs[number], Budget(0, self.budget.memo))

    def is_complete(self, epoch: Epoch) -> bool:
        """Whether every rank has gone on to a later epoch, or ended."""
        return self.progress.is_complete(epoch.epoch)

    def train_of(self, series: Series) -> Series | None:
        """Return the training that stands beside it: that of the same loss, else the first; None without."""
        trains = [other for other in self.all_series if other.is_train and self.epochs(other)]
        same = [other for other in trains if other.loss_name == series.loss_name]
        return next(iter(same or trains), None)

    def legs(self, series: Series) -> dict[int, Leg]:
        """Return each epoch as a stretch of the way that this series has gone.

        An epoch that still runs is taken to become as long as the last complete one.
        """
        if series.name in self._legs:
            return self._legs[series.name]
        legs: dict[int, Leg] = {}
        standing = Standing()
        usual = 0.0
        for epoch in self.epochs(series):
            total = merge_all(epoch.ranks.values())
            before = legs.get(epoch.epoch)
            start = standing if before is None else before.start
            standing = standing.after(total, len(epoch.ranks))
            batches = standing.batches - start.batches
            if self.is_complete(epoch):
                usual = batches
            summary = total if before is None else merge(before.summary, total)
            legs[epoch.epoch] = Leg(start, standing, summary, batches)
            if not self.is_complete(epoch):
                legs[epoch.epoch].batches = max(batches, usual)
        self._legs[series.name] = legs
        return legs

    def about(self, series: Series) -> dict[str, Any]:
        """Return what the wire says of any curve of a series."""
        epochs = self.epochs(series)
        newest = epochs[-1].ranks.values() if epochs else ()
        sizes = [rank.batch_size for rank in newest if rank.batch_size]
        return {
            "run": self.run.id,
            "name": self.run.name,
            "series": series.name,
            "reduction": series.reduction.wire_name,
            "weight_unit": series.weight_unit,
            "weight_source": series.weight_source,
            "traits": series.traits,
            "batch_size": max(sizes, default=None),
            "ranks": len(newest),
            "declared": all(epoch.is_declared for epoch in epochs),
            "records": sum(epoch.seen for epoch in epochs),
        }


def tell_epoch(epoch: int) -> int | None:
    """Return an epoch as the wire has it: null where undeclared."""
    return epoch if epoch >= 0 else None
