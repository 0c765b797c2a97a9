"""One run as a request reads it: its series, their epochs and views, each read once."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from lossboard_server.api.views.following import Follow
from lossboard_server.domain.course import Leg
from lossboard_server.domain.curves import Standing, choose_epoch_width
from lossboard_server.domain.epoch_pyramid import EPOCH_WIDTHS
from lossboard_server.domain.points import merge_points
from lossboard_server.domain.views import EpochViews
from lossboard_server.store.reading.budget import Budget
from lossboard_server.store.reading.epochs import (
    LAST_EPOCH,
    Epoch,
    read_epoch,
    read_epochs,
    read_epochs_between,
    view,
)
from lossboard_server.store.reading.laps import Lap, read_laps
from lossboard_server.store.reading.progress import Progress, read_progress
from lossboard_server.store.reading.series import Series, read_series
from lossboard_server.store.reading.spans import find_extent, read_spans

OBJECTIVE = "step_objective"
UNDECLARED = -1
EVERYTHING = (UNDECLARED, LAST_EPOCH)
WIDEST = EPOCH_WIDTHS[-1]
FEW_EPOCHS = 64  # are read one by one: less than looking for buckets of them costs
MARGIN_EPOCHS = 16  # before the first that a follower is told of: epochs may be left out


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

    least_span: int = 1
    """In epochs, for the same reason."""

    def wants(self, view: str) -> bool:
        """Whether a view is asked for."""
        return not self.views or view in self.views

    def select(self, columns: Mapping[str, Sequence[float | None]]) -> dict[str, Sequence[float | None]]:
        """Return the columns of the views asked for."""
        return {name: values for name, values in columns.items() if self.wants(name)}


@dataclass(slots=True)
class RunReader:
    """A run and what was read of it; `budget` bounds the records read for the step objective."""

    connection: Connection
    run: Any
    wanted: Request
    budget: Budget = field(default_factory=Budget)
    follow: Follow | None = None
    """What a follower is told; None: everything."""
    only: tuple[int, int] | None = None
    """The first and the last epoch that are told, where the question does not say it."""
    all_series: list[Series] = field(init=False)
    progress: Progress = field(init=False)
    hidden: Counter[int] = field(default_factory=Counter)
    """Records of the series read so far that later attempts hide, by the attempt's key."""
    _epochs: dict[str, list[Epoch]] = field(default_factory=dict)
    _extents: dict[str, tuple[int, int] | None] = field(default_factory=dict)
    _laps: dict[str, list[Lap]] = field(default_factory=dict)
    _single: dict[tuple[str, int], list[Epoch]] = field(default_factory=dict)
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

    @property
    def told(self) -> tuple[int, int]:
        """The first and the last epoch that are told: of a follower's end, or of a range of epochs."""
        wanted = self.wanted
        if self.only is not None:
            return self.only
        if self.follow is not None:
            return int(min(self.follow.first, LAST_EPOCH)), LAST_EPOCH
        if wanted.x != "epoch":
            return UNDECLARED, LAST_EPOCH
        first = UNDECLARED if wanted.first_x is None else math.floor(min(wanted.first_x, LAST_EPOCH))
        last = LAST_EPOCH if wanted.last_x is None else math.ceil(max(wanted.last_x, -1)) + 1
        return first, min(last, LAST_EPOCH)

    def epochs(self, series: Series) -> list[Epoch]:
        """Return a series' visible epochs that are told, of validation every pass."""
        if series.name not in self._epochs:
            first, last = self.told
            if first > 0 or last < LAST_EPOCH:
                self._epochs[series.name] = read_epochs_between(self.connection, series, max(first, 0), last)
            else:
                self._epochs[series.name] = read_epochs(self.connection, series, hidden=self.hidden)
        return self._epochs[series.name]

    def laps(self, series: Series) -> list[Lap]:
        """Return the same as points, which is what most of a curve needs of them."""
        if series.name not in self._laps:
            self._laps[series.name] = self._read_laps(series)
        return self._laps[series.name]

    def span(self, series: Series) -> int:
        """Return how many epochs a point of the series spans, a power of 4."""
        extent = self._find_extent(series)
        if extent is None:
            return self.wanted.least_span
        first, last = (0, LAST_EPOCH) if self.follow is not None else self.told
        epochs = min(extent[1], last) - max(extent[0], first, 0) + 1
        return max(choose_epoch_width(max(epochs, 1), self.wanted.points), self.wanted.least_span)

    def _find_extent(self, series: Series) -> tuple[int, int] | None:
        if series.name not in self._extents:
            self._extents[series.name] = find_extent(self.connection, series)
        return self._extents[series.name]

    def _read_laps(self, series: Series) -> list[Lap]:
        """Read the epochs that are told one by one, or by as many as make a point; the others as a whole."""
        extent, span = self._find_extent(series), self.span(series)
        if extent is None or (span == 1 and extent[1] - extent[0] < FEW_EPOCHS):
            return read_laps(self.connection, series)
        first, last = max(extent[0], 0), extent[1]
        begin, end = self.told
        begin = max(first, min(begin, last + 1) // span * span - max(span, MARGIN_EPOCHS))
        end = max(begin - 1, min(last, (end // span + 1) * span - 1))
        laps = read_laps(self.connection, series, UNDECLARED, UNDECLARED) if extent[0] < 0 else []
        for from_, to, width in ((first, begin - 1, WIDEST), (begin, end, span), (end + 1, last, WIDEST)):
            if from_ <= to and width > 1:
                laps += read_spans(self.connection, series, from_, to, width)
            elif from_ <= to:
                laps += read_laps(self.connection, series, from_, to)
        return laps

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
        laps = self.laps(series)
        if not laps:
            return None
        number = self._find_complete(series, laps)
        epoch = self._read_epoch(series, laps[-1].place[0] if number is None else number)[-1]
        return epoch, view(self.connection, series, epoch, Budget(0, self.budget.memo))

    def _find_complete(self, series: Series, laps: Sequence[Lap]) -> int | None:
        """Return the newest complete epoch, however many epochs the laps take together."""
        for lap in reversed(laps):
            if not self.progress.is_complete(lap.begin):
                continue
            if lap.width == 1:
                return lap.place[0]
            incomplete = self.progress.first_incomplete
            last = lap.place[0] if incomplete is None else min(lap.place[0], incomplete - 1)
            for first in (max(lap.begin, last - MARGIN_EPOCHS), lap.begin):  # it is nearly always there
                if found := read_laps(self.connection, series, first, last):
                    return found[-1].place[0]
        return None

    def _read_epoch(self, series: Series, number: int) -> list[Epoch]:
        """Return an epoch with its ranks, of validation its passes."""
        if series.name in self._epochs and self.told == EVERYTHING:
            return [epoch for epoch in self._epochs[series.name] if epoch.epoch == number]
        key = (series.name, number)
        if key not in self._single:
            self._single[key] = read_epoch(self.connection, series, number)
        return self._single[key]

    def is_complete(self, epoch: Epoch) -> bool:
        """Whether every rank has gone on to a later epoch, or ended."""
        return self.progress.is_complete(epoch.epoch)

    def train_of(self, series: Series) -> Series | None:
        """Return the training that stands beside it: that of the same loss, else the first; None without."""
        trains = [other for other in self.all_series if other.is_train and self.laps(other)]
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
        for lap in self.laps(series):
            epoch, before = lap.place[0], legs.get(lap.place[0])
            start = standing if before is None else before.start
            standing = standing.past(lap.point)
            batches = standing.batches - start.batches
            is_complete = self.progress.is_complete(epoch)
            if is_complete:
                usual = batches
            point = lap.point if before is None else merge_points(before.point, lap.point)
            legs[epoch] = Leg(start, standing, point, batches if is_complete else max(batches, usual))
        self._legs[series.name] = legs
        return legs

    def about(self, series: Series) -> dict[str, Any]:
        """Return what the wire says of any curve of a series."""
        laps = self.laps(series)
        newest = self._read_epoch(series, laps[-1].place[0])[-1].ranks.values() if laps else ()
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
            "declared": all(lap.place[0] >= 0 for lap in laps),
            "records": sum(lap.point.seen for lap in laps),
        }


def tell_epoch(epoch: int) -> int | None:
    """Return an epoch as the wire has it: null where undeclared."""
    return epoch if epoch >= 0 else None
