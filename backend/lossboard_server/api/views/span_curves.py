"""Curves over epochs where there are more of them than points: neighbouring epochs as one point."""

import math
from bisect import bisect_right
from typing import Any

from lossboard_server.api.views.following import CannotFollowError
from lossboard_server.api.views.reader import RunReader, tell_epoch
from lossboard_server.domain.epoch_pyramid import EpochBucket
from lossboard_server.domain.views import EPOCH_VIEWS
from lossboard_server.store.reading.laps import Lap
from lossboard_server.store.reading.series import Series

MERGED = ("batch_mean", "per_item", "size_weighted")
"""Views that are averages: of several epochs they are that of all their records."""


def draw_spans(reader: RunReader, series: Series) -> dict[str, Any]:
    """Return a series' curve over epochs as the wire's columns, each point at the last of its epochs.

    A sum is the mean of the epochs' sums, an average that of all their records. `bands` has the
    least and the greatest that each view came to in one epoch.
    """
    laps = told_laps(reader, series)
    x = [float(max(lap.place[0], 0)) for lap in laps]
    return reader.about(series) | {
        "x": x,
        "views": reader.wanted.select({name: [_value(lap, name) for lap in laps] for name in EPOCH_VIEWS}),
        "low": None,
        "high": None,
        "bands": {name: _band(laps, name) for name in EPOCH_VIEWS if reader.wanted.wants(name)},
        "rank_low": None,
        "rank_high": None,
        "count": [lap.point.seen for lap in laps],
        "nonfinite": [lap.point.nonfinite for lap in laps],
        "epoch": [tell_epoch(lap.place[0]) for lap in laps],
        "pass_no": [lap.place[1] for lap in laps],
        "batch": [lap.point.last_batch for lap in laps],
        "items": _count_items(reader, series, laps),
        "epochs": [1 if lap.whole is None else lap.whole.points for lap in laps],
        "complete": [reader.progress.is_complete(lap.place[0]) for lap in laps],
        "events": [],
        "shown": len(laps),
        "from_x": cut_at(reader, x),
    }


def told_laps(reader: RunReader, series: Series) -> list[Lap]:
    """Return the laps that are drawn: of all, of a follower's end, or of a range."""
    first, last = reader.told
    if reader.follow is not None:
        first = first // find_span(reader) * find_span(reader)  # a page replaces whole points
    return [lap for lap in reader.laps(series) if lap.place[0] >= first and lap.begin <= last]


def _count_items(reader: RunReader, series: Series, laps: list[Lap]) -> list[float | None]:
    """Return the items that training had seen at the end of each lap."""
    legs = reader.legs(reader.train_of(series) or series)
    ends = sorted(legs)
    found = (bisect_right(ends, lap.place[0]) for lap in laps)
    return [legs[ends[at - 1]].end.items if at else 0.0 for at in found]


def cut_at(reader: RunReader, x: list[float]) -> float | None:
    """Return from where on a page replaces what it has on the axis of epochs; None: from its beginning.

    Raises: CannotFollowError where a point stands on the epoch's edge, which the one before may share.
    """
    if reader.follow is None or reader.follow.first <= 0:
        return None
    first = int(reader.follow.first)
    span = find_span(reader)
    edge = float(first // span * span - 1)
    if any(place <= edge for place in x):
        raise CannotFollowError
    return math.nextafter(edge, math.inf)


def find_span(reader: RunReader) -> int:
    """Return how many epochs a point spans, of the series for which that are most."""
    return max(reader.span(series) for series in reader.wanted_series)


def _value(lap: Lap, view: str) -> float | None:
    whole = lap.whole
    if whole is None or view not in whole.views:
        return None
    if view in MERGED:
        return _merged(whole, view)
    told = whole.views[view]
    return told.sum / told.told


def _merged(whole: EpochBucket, view: str) -> float | None:
    summary = whole.summary
    if view == "batch_mean":
        return summary.m[0] / summary.count
    return summary.mean if view == "per_item" else summary.size_weighted


def _band(laps: list[Lap], view: str) -> dict[str, list[float | None]]:
    spans = [None if lap.whole is None else lap.whole.views.get(view) for lap in laps]
    return {
        "low": [None if span is None else span.least for span in spans],
        "high": [None if span is None else span.greatest for span in spans],
    }
