"""Curves of validation over axes of what was seen: each pass is one point, where training stood."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lossboard_server.api.views.following import CannotFollowError, Follow
from lossboard_server.api.views.reader import RunReader
from lossboard_server.api.views.record_curves import RecordCurves, tell_curve
from lossboard_server.api.views.sections import Section
from lossboard_server.api.views.warming import WARM_UP
from lossboard_server.domain.course import Course, Leg, Place, draw_places, find_times, place_passes
from lossboard_server.domain.curves import Curve, Standing
from lossboard_server.domain.points import NOTHING, Point
from lossboard_server.domain.smoothing import smooth
from lossboard_server.store.reading.laps import Lap
from lossboard_server.store.reading.series import Series


@dataclass(slots=True)
class PassCurves:
    """The curves of one run's validation, beside those of its training."""

    reader: RunReader
    records: RecordCurves

    def draw(self, series: Series) -> dict[str, Any]:
        """Return a series' curve as the wire's columns."""
        wanted, train = self.reader.wanted, self._train_of(series)
        passes = [lap.point for lap in self.reader.laps(series)]
        places = place_passes(
            passes,
            self._legs(series, train),
            lambda: Course(Standing()) if train is None else self.records.course(train),
        )
        return tell_curve(self.reader, series, draw_places(passes, places, wanted.x, wanted.half_life), None)

    def draw_changed(self, series: Series) -> dict[str, Any] | None:
        """Return a series' curve; for a follower its changed end, None where it has not changed.

        Raises: CannotFollowError.
        """
        if self.reader.follow is None:
            return self.draw(series)
        first = self._find_changed(series, self.reader.follow)
        return None if first is None else self._draw_end(series, first)

    def _find_changed(self, series: Series, follow: Follow) -> int | None:
        """Return the first epoch whose passes changed, or stand elsewhere for what training did since."""
        own, train = follow.marks.get(series.key), self.reader.train_of(series)
        trained = None if train is None else follow.marks.get(train.key)
        epochs = [] if own is None else [own.epoch]
        if train is not None and trained is not None and self._moves(series, train, trained.epoch):
            epochs.append(trained.epoch)
        return min(epochs, default=None)

    def _moves(self, series: Series, train: Series, first: int) -> bool:
        """Tell whether passes from an epoch on may stand elsewhere for what training did since."""
        epochs: dict[int, list[Point]] = {}
        for lap in self.reader.laps(series):
            if lap.place[0] >= first:
                if lap.width > 1:
                    return True
                epochs.setdefault(lap.place[0], []).append(lap.point)
        if not epochs:
            return False
        begin = self.records.begin(train)
        legs = self.reader.legs(train)
        return any(
            epoch not in legs or _may_move(legs[epoch], passes, begin) for epoch, passes in epochs.items()
        )

    def _draw_end(self, series: Series, first: int) -> dict[str, Any]:
        """Return the passes from an epoch on, and those before that share the place of the first of them."""
        laps, axis = self.reader.laps(series), self.reader.wanted.x
        at = next((n for n, lap in enumerate(laps) if lap.place[0] >= first), len(laps))
        if at == len(laps):
            raise CannotFollowError  # what changed is hidden
        # The passes of the epoch before may stand at its end, which is where the first told begins.
        start = next(n for n, lap in enumerate(laps) if lap.place[0] == laps[max(at - 1, 0)].place[0])
        if any(lap.width != self.reader.span(series) for lap in laps[start:]):
            raise CannotFollowError  # not read one by one so far back
        train = self._train_of(series)
        legs = self._legs(series, train)
        points = [lap.point for lap in laps[start:]]
        places = self._place(points, legs, train)
        curve = draw_places(points, places, axis)
        edge = None if axis == "time" else _stand_before(legs, laps[at].begin).on(axis)
        told, from_x = _find_cut(curve.x, at - start, edge)
        if told == 0 and not _are_before(laps[:start], _stand_before(legs, laps[start].begin), axis, from_x):
            raise CannotFollowError
        curve.smooth = self._smooth(laps, start + told)[start:] if self.reader.wanted.half_life else None
        return tell_curve(self.reader, series, _cut_off(curve, told), None if told == start == 0 else from_x)

    def _place(self, points: Sequence[Point], legs: dict[int, Leg], train: Series | None) -> list[Place]:
        def course() -> Course:
            if train is None:
                return Course(Standing())
            laps = self.reader.laps(train)
            at = next(n for n, lap in enumerate(laps) if lap.place[0] >= points[0].epoch)
            before = legs[laps[at].place[0]].start
            return self.records.follow_course(train, Section(before, laps[at:], laps[:at]))

        return place_passes(points, legs, course)

    def _smooth(self, laps: Sequence[Lap], told: int) -> list[float | None]:
        """Return the smoothed column of all passes, exact to the eye from those on that are told."""
        half_life = self.reader.wanted.half_life or 0.0
        items = [lap.point.items or lap.point.counted for lap in laps]
        if laps[0].width != laps[-1].width and sum(items[1:told]) < WARM_UP * half_life:
            raise CannotFollowError  # several early passes are read as one
        return smooth([lap.point.mean for lap in laps], items, half_life)

    def _train_of(self, series: Series) -> Series | None:
        train = self.reader.train_of(series)
        if train is not None:
            self.records.check_tokens(train)
        return train

    def _legs(self, series: Series, train: Series | None) -> dict[int, Leg]:
        if train is not None:
            return self.reader.legs(train)
        # Nothing trained: a pass ends where the data that it went through end.
        own = self.reader.legs(series)
        return {epoch: Leg(leg.start, leg.end, NOTHING, leg.batches) for epoch, leg in own.items()}


def _may_move(leg: Leg, passes: Sequence[Point], begin: float | None) -> bool:
    """Tell whether some pass of an epoch began since `begin`, from where on its training changed."""
    times, first = find_times(leg, passes), leg.point.first_time
    return begin is None or times is None or first is None or begin <= first or times[-1] >= begin


def _stand_before(legs: dict[int, Leg], epoch: int) -> Standing:
    """Return where training stood before an epoch."""
    at = min((number for number in legs if number >= epoch), default=None)
    if at is not None:
        return legs[at].start
    return legs[max(legs)].end if legs else Standing()


def _find_cut(xs: Sequence[float | None], changed: int, edge: float | None) -> tuple[int, float]:
    """Return the first pass that is told, and the place from which on all of them are.

    `changed` is the first that may have changed; none of those has stood before `edge`.
    Raises: CannotFollowError where one has no place.
    """
    at = changed
    while True:
        places = [x for x in xs[at:] if x is not None]
        if len(places) < len(xs) - at:
            raise CannotFollowError
        from_x = min([*places, *([] if edge is None else [edge])])
        first = next(n for n, x in enumerate(xs) if n == at or (x is not None and x >= from_x))
        if first == at:
            return at, from_x
        at = first


def _are_before(laps: Sequence[Lap], standing: Standing, axis: str, x: float) -> bool:
    """Tell whether all passes of some laps, made before training stood there, lie before a place."""
    if not laps:
        return True
    if axis == "time":
        lasts: list[float | None] = [lap.point.last_time for lap in laps]
    elif axis == "step":
        lasts = [standing.step, *(lap.point.last_step for lap in laps)]
    else:
        lasts = [standing.on(axis)]
    return all(last is None or last < x for last in lasts)


def _cut_off(curve: Curve, first: int) -> Curve:
    """Return a curve from one of its points on."""
    return Curve(
        x=curve.x[first:],
        batch_view=curve.batch_view[first:],
        running=curve.running[first:],
        smooth=None if curve.smooth is None else curve.smooth[first:],
        low=curve.low[first:],
        high=curve.high[first:],
        count=curve.count[first:],
        nonfinite=curve.nonfinite[first:],
        epoch=curve.epoch[first:],
        batch=curve.batch[first:],
    )
