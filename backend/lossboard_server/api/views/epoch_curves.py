"""Curves over epochs: every view of every epoch, validation where training stood."""

from typing import Any, NamedTuple

from lossboard_server.api.views.reader import RunReader, tell_epoch
from lossboard_server.api.views.record_curves import RecordCurves
from lossboard_server.api.views.span_curves import cut_at, draw_spans, told_laps
from lossboard_server.domain.course import place_passes
from lossboard_server.domain.extent import measure_extent
from lossboard_server.domain.summary import merge_all
from lossboard_server.domain.views import EPOCH_VIEWS
from lossboard_server.store.reading.series import Series

Column = list[float | None]


class _Point(NamedTuple):
    """Where an epoch or a pass stands: on the axis of epochs, and in items seen in training."""

    x: float
    items: float | None


def draw_epochs(reader: RunReader, records: RecordCurves, series: Series) -> dict[str, Any]:
    """Return a series' curve over epochs as the wire's columns; epoch 0 ends at 0.

    Where there are more epochs than points, neighbours are one point: `bands` then has the
    least and the greatest of each view. For a follower its end, from the first epoch that may
    have changed.

    Raises: CannotFollowError.
    """
    if any(lap.width > 1 for lap in told_laps(reader, series)):
        return draw_spans(reader, series)
    epochs = reader.epochs(series)
    drawn = reader.views(series)
    low, high = _bound_ranks(reader, series)
    train = reader.train_of(series)
    is_pass = train is not None and not series.is_train
    points = _place_passes(reader, records, series, train) if train and is_pass else _place(reader, series)
    return reader.about(series) | {
        "x": [point.x for point in points],
        "views": reader.wanted.select({name: [views.value(name) for views in drawn] for name in EPOCH_VIEWS}),
        "low": None,
        "high": None,
        "bands": None,
        "epochs": None,
        "rank_low": low,
        "rank_high": high,
        "count": [views.merged.seen for views in drawn],
        "nonfinite": [views.merged.nonfinite for views in drawn],
        "epoch": [tell_epoch(epoch.epoch) for epoch in epochs],
        "pass_no": [epoch.pass_no for epoch in epochs],
        "batch": [views.merged.last_batch for views in drawn],
        "items": [point.items for point in points],
        "complete": [reader.is_complete(epoch) for epoch in epochs],
        "events": [],
        "shown": len(epochs),
        "from_x": cut_at(reader, [point.x for point in points]),
    }


def _place(reader: RunReader, series: Series) -> list[_Point]:
    """Place a training's epochs, each at its end."""
    legs = reader.legs(series)
    passes: dict[int, int] = {}
    for epoch in reader.epochs(series):
        passes[epoch.epoch] = passes.get(epoch.epoch, 0) + 1
    numbers = dict.fromkeys(passes, 0)
    points = []
    for epoch in reader.epochs(series):
        numbers[epoch.epoch] += 1
        x = max(epoch.epoch, 0) - 1 + numbers[epoch.epoch] / passes[epoch.epoch]
        points.append(_Point(x, legs[epoch.epoch].end.items))
    return points


def _place_passes(reader: RunReader, records: RecordCurves, series: Series, train: Series) -> list[_Point]:
    """Place validation passes where training stood."""
    passes = [lap.point for lap in told_laps(reader, series)]
    places = place_passes(passes, reader.legs(train), lambda: records.course(train))
    return [_Point(place.epoch, place.standing.items) for place in places]


def _bound_ranks(reader: RunReader, series: Series) -> tuple[Column | None, Column | None]:
    """Return the least and the greatest per item of each epoch's ranks; None where one rank trained."""
    epochs = reader.epochs(series)
    if all(lap.ranks < 2 for lap in reader.laps(series)):  # of all epochs, also where a follower is told few
        return None, None
    low: Column = []
    high: Column = []
    for epoch in epochs:
        extent = measure_extent(epoch.ranks, merge_all(epoch.ranks.values()), {})
        means = [rank.per_item for rank in extent.ranks if rank.per_item is not None]
        low.append(min(means, default=None))
        high.append(max(means, default=None))
    return low, high
