"""The course of a training: where it stood at each moment, and so where its validation passes stand."""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from lossboard_server.domain.curves import Curve, Standing
from lossboard_server.domain.points import NOTHING, Point
from lossboard_server.domain.smoothing import smooth


@dataclass(slots=True)
class Course:
    """Where training stood after each bucket, and when each began and ended.

    `ends` never decreases: ranks and machines disagree on the time by a little.
    """

    before: Standing
    begins: list[float] = field(default_factory=list)
    ends: list[float] = field(default_factory=list)
    standings: list[Standing] = field(default_factory=list)

    @classmethod
    def follow(cls, points: Iterable[Point], before: Standing) -> "Course":
        """Follow training buckets from where training stood before the first of them."""
        course = cls(before)
        standing = before
        for point in points:
            standing = standing.past(point)
            latest = course.ends[-1] if course.ends else -math.inf
            first, last = point.first_time, point.last_time
            course._add(latest if first is None else first, latest if last is None else last, standing)
        return course

    def refined(self, finer: "Course") -> "Course":
        """Return the course with a stretch of it in finer buckets; those at its two ends are cut there."""
        if not finer.ends:
            return self
        made = [standing.batches for standing in self.standings]
        first, last = (
            bisect_right(made, finer.before.batches),
            bisect_right(made, finer.standings[-1].batches),
        )
        joined = Course(self.before, self.begins[:first], self.ends[:first], self.standings[:first])
        if (made[first - 1] if first else self.before.batches) < finer.before.batches and first < len(made):
            joined._add(self.begins[first], finer.begins[0], finer.before)
        for bucket in zip(finer.begins, finer.ends, finer.standings, strict=True):
            joined._add(*bucket)
        behind = math.nextafter(finer.ends[-1], math.inf)  # what is cut goes on with the next batch
        for number in range(last, len(made)):
            joined._add(max(self.begins[number], behind), self.ends[number], self.standings[number])
        return joined

    def _add(self, begin: float, end: float, standing: Standing) -> None:
        self.begins.append(begin)
        self.ends.append(max(end, self.ends[-1]) if self.ends else end)
        self.standings.append(standing)

    def at(self, time: float) -> Standing:
        """Return where training stood at a time.

        Inside a bucket its records are taken to be spread evenly over its time; in a bucket
        of one batch there is nothing to take.
        """
        index = bisect_right(self.ends, time)
        standing = self.standings[index - 1] if index else self.before
        if index == len(self.ends) or time < self.begins[index]:
            return standing
        after = self.standings[index]
        batches = after.batches - standing.batches
        elapsed = (time - self.begins[index]) / (self.ends[index] - self.begins[index])
        made = math.floor(1 + (batches - 1) * elapsed) if batches > 1 else 0
        return between(standing, after, made / batches if batches else 0.0)


def between(start: Standing, end: Standing, share: float) -> Standing:
    """Return where training stood when it had gone this share of a way, 1 for all of it."""
    if share >= 1:
        return end
    step = start.step
    if start.step is not None and end.step is not None:
        step = float(math.floor(start.step + (end.step - start.step) * share))
    return Standing(
        start.batches + (end.batches - start.batches) * share,
        start.items + (end.items - start.items) * share,
        start.weight + (end.weight - start.weight) * share,
        step,
        start.time,
    )


@dataclass(slots=True)
class Leg:
    """One epoch of training on the course.

    `batches` is what the epoch will have when it is complete, as far as that is known.
    """

    start: Standing
    end: Standing
    point: Point
    batches: float

    @property
    def tells_time(self) -> bool:
        """Whether its records have times of their own: rows posted at once have that of their arrival."""
        first, last = self.point.first_time, self.point.last_time
        return first is not None and last is not None and (first < last or self.point.seen == 1)


@dataclass(slots=True)
class Place:
    """Where a pass stands: on the course, and on the axis of epochs, where epoch 0 ends at 0."""

    standing: Standing
    epoch: float


def place_passes(
    passes: Iterable[Point], legs: Mapping[int, Leg], course: Callable[[], Course]
) -> list[Place]:
    """Place validation passes, given in order of epoch, where training stood when each began.

    Where times don't tell that, an epoch's passes are spread over it evenly. `course` is
    asked for only if some pass began inside its epoch.
    """
    known: list[Course] = []

    def at(time: float) -> Standing:
        if not known:
            known.append(course())
        return known[0].at(time)

    places: list[Place] = []
    for epoch, group in groupby(passes, lambda each: each.epoch):
        leg = legs.get(epoch) or _stay(legs, epoch)
        places += _place_group(epoch, list(group), leg, at)
    return places


def _stay(legs: Mapping[int, Leg], epoch: int) -> Leg:
    """Return a leg without training, where the last one before this epoch ended."""
    before = max((number for number in legs if number < epoch), default=None)
    standing = Standing() if before is None else legs[before].end
    return Leg(standing, standing, NOTHING, 0.0)


def _place_group(
    epoch: int, group: Sequence[Point], leg: Leg, at: Callable[[float], Standing]
) -> Iterator[Place]:
    origin = max(epoch, 0) - 1
    times = find_times(leg, group)
    if times is None:
        for number in range(1, len(group) + 1):
            share = number / len(group)
            yield Place(between(leg.start, leg.end, share), origin + share)
        return
    for time in times:
        standing = _stand(leg, time, at)
        made = standing.batches - leg.start.batches
        yield Place(standing, origin + (made / leg.batches if leg.batches else 1.0))


def find_times(leg: Leg, group: Sequence[Point]) -> list[float] | None:
    """Return when each pass of an epoch began; None where that does not tell them apart, or from training."""
    times = [point.first_time for point in group if point.first_time is not None]
    is_told = leg.tells_time and len(times) == len(group) and all(a < b for a, b in pairwise(times))
    return times if is_told else None


def _stand(leg: Leg, time: float, at: Callable[[float], Standing]) -> Standing:
    first, last = leg.point.first_time, leg.point.last_time
    if last is None or time >= last:
        return leg.end
    if first is None or time < first:
        return leg.start
    standing = at(time)
    # Wide buckets hold several epochs, and clocks differ: a pass stays inside its own epoch.
    if standing.batches < leg.start.batches:
        return leg.start
    return leg.end if standing.batches > leg.end.batches else standing


def draw_places(
    passes: Sequence[Point], places: Sequence[Place], axis: str, half_life: float | None = None
) -> Curve:
    """Draw validation passes, each one point, on an axis other than epoch.

    A pass whose records tell the step stands there: it measured what that step had made.
    """
    means = [point.mean for point in passes]
    items = [point.items or point.counted for point in passes]
    return Curve(
        x=[_find_x(point, place, axis) for point, place in zip(passes, places, strict=True)],
        batch_view=means,
        running=[None if point.unweighted else mean for point, mean in zip(passes, means, strict=True)],
        smooth=None if half_life is None else smooth(means, items, half_life),
        low=[point.low for point in passes],
        high=[point.high for point in passes],
        count=[point.seen for point in passes],
        nonfinite=[point.nonfinite for point in passes],
        epoch=[point.epoch for point in passes],
        batch=[point.last_batch for point in passes],
    )


def _find_x(point: Point, place: Place, axis: str) -> float | None:
    if axis == "time":
        return point.first_time
    if axis == "step" and point.first_step is not None:
        return float(point.first_step)
    return place.standing.on(axis)
