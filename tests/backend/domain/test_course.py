"""Where training stood at a time, and so where validation passes stand."""

import math

import pytest

from lossboard_server.domain.course import Course, Leg, Place, between, draw_places, place_passes
from lossboard_server.domain.curves import Standing
from lossboard_server.domain.meaning import Evaluation, Reduction
from lossboard_server.domain.points import Point, point_of
from lossboard_server.domain.summary import Row, Summary, summarise


def whole(epoch: int, summary: Summary, number: int = 0) -> Point:
    return point_of(summary, (epoch, 0), number, 1)


def records(first: int, count: int, *, size: int = 2, epoch: int = 0) -> Summary:
    """Return batches `first` to `first + count`, one a second, each half a step of two items."""
    return summarise(
        Row(epoch, b, 0, Evaluation(1.0, size, None, None, None, Reduction.MEAN), b // 2, float(b))
        for b in range(first, first + count)
    )


def measured(time: float | None, step: int | None = None) -> Summary:
    return summarise([Row(0, 0, 0, Evaluation(5.0, 4, None, None, None, Reduction.MEAN), step, time)])


def course(*widths: int) -> Course:
    buckets = []
    first = 0
    for width in widths:
        buckets.append(whole(0, records(first, width), first))
        first += width
    return Course.follow(buckets, Standing())


def leg(count: int, *, batches: float | None = None, first: int = 0) -> Leg:
    start = Standing().after(records(0, first), 1) if first else Standing()
    summary = records(first, count)
    return Leg(start, start.after(summary, 1), whole(0, summary), batches or count)


def place(*times: float | None, of: Leg, by: Course) -> list[Place]:
    return place_passes([whole(0, measured(time)) for time in times], {0: of}, lambda: by)


def test_training_stands_after_the_last_batch_before_a_time() -> None:
    stood = course(*[1] * 10)
    assert [stood.at(time).batches for time in (-1, 0, 0.5, 3.9, 4.0, 99)] == [0, 1, 1, 4, 5, 10]
    assert stood.at(3.9) == Standing(4, 8, 8, 1, 3.0)


@pytest.mark.parametrize("width", [2, 5, 10])
def test_wide_bucket_is_gone_through_evenly(width: int) -> None:
    stood, exact = course(*[width] * (20 // width)), course(*[1] * 20)
    for time in (0.0, 2.5, 7.1, 12.9, 19.0):
        assert stood.at(time).batches == exact.at(time).batches
        assert stood.at(time).items == pytest.approx(exact.at(time).items)


def test_several_passes_in_an_epoch_are_several_points() -> None:
    places = place(1.5, 4.5, 9.5, of=leg(10), by=course(*[1] * 10))
    assert [each.standing.batches for each in places] == [2, 5, 10]
    assert [each.epoch for each in places] == pytest.approx([-0.8, -0.5, 0.0])


def test_epoch_that_still_runs_is_measured_by_the_last_complete_one() -> None:
    places = place(1.5, 4.5, of=leg(5, batches=10), by=course(*[1] * 5))
    assert [each.epoch for each in places] == pytest.approx([-0.8, -0.5])
    assert [each.standing.batches for each in places] == [2, 5]


def test_pass_before_all_training_stands_at_the_start() -> None:
    (before,) = place(-5.0, of=leg(10), by=course(*[1] * 10))
    assert (before.epoch, before.standing) == (-1, Standing())


def test_pass_stays_inside_its_epoch_whatever_the_course_says() -> None:
    later = leg(5, first=5)
    assert place(7.5, of=later, by=course(10))[0].standing.batches == 8
    off = Course.follow([whole(0, records(0, 20))], Standing())
    assert place(8.9, of=Leg(later.start, later.end, later.point, 5), by=off)[0].standing.batches == 9
    assert place(5.1, of=leg(5, first=5), by=Course(Standing()))[0].standing == later.start


@pytest.mark.parametrize("times", [(None, None), (3.0, 3.0)])
def test_passes_that_no_time_tells_apart_are_spread_over_their_epoch(times: tuple[float | None, ...]) -> None:
    places = place(*times, of=leg(10), by=course(*[1] * 10))
    assert [each.epoch for each in places] == [-0.5, 0.0]
    assert [each.standing.batches for each in places] == [5, 10]


def test_epoch_that_came_all_at_once_tells_no_time() -> None:
    at_once = summarise(
        Row(0, b, 0, Evaluation(1.0, 2, None, None, None, Reduction.MEAN), None, 7.0) for b in range(4)
    )
    trained = Leg(Standing(), Standing().after(at_once, 1), whole(0, at_once), 4)
    places = place(7.0, 8.0, of=trained, by=course(4))
    assert [each.standing.batches for each in places] == [2, 4]


def test_pass_of_an_epoch_without_training_stands_where_training_ended() -> None:
    passes = [whole(0, measured(99.0)), whole(4, measured(100.0))]
    first, alone = place_passes(passes, {0: leg(10)}, lambda: course(10))
    assert (first.epoch, first.standing.batches) == (0.0, 10)
    assert (alone.epoch, alone.standing.batches) == (4.0, 10)


def test_undeclared_epoch_is_placed_as_epoch_0() -> None:
    (alone,) = place_passes([whole(-1, measured(4.5))], {-1: leg(10)}, lambda: course(*[1] * 10))
    assert alone.epoch == pytest.approx(-0.5)


def test_course_is_followed_only_if_some_pass_began_inside_its_epoch() -> None:
    def refuse() -> Course:
        raise AssertionError("nobody needs it")

    (after,) = place_passes([whole(0, measured(50.0))], {0: leg(10)}, refuse)
    assert after.epoch == 0.0


def test_passes_are_drawn_on_every_axis() -> None:
    passes = [whole(0, measured(4.5)), whole(0, measured(9.5))]
    places = place_passes(passes, {0: leg(10)}, lambda: course(*[1] * 10))
    xs = {axis: draw_places(passes, places, axis).x for axis in ("batch", "items", "tokens", "step", "time")}
    assert xs == {"batch": [5, 10], "items": [10, 20], "tokens": [10, 20], "step": [2, 4], "time": [4.5, 9.5]}
    curve = draw_places(passes, places, "batch", half_life=4.0)
    assert (curve.batch_view, curve.smooth, curve.count) == ([5.0, 5.0], [5.0, 5.0], [1, 1])


def test_pass_that_tells_its_step_stands_there() -> None:
    passes = [whole(0, measured(4.5, step=3))]
    places = place_passes(passes, {0: leg(10)}, lambda: course(*[1] * 10))
    assert draw_places(passes, places, "step").x == [3.0]


def test_way_between_two_standings_ends_at_the_second() -> None:
    start, end = Standing(0, 0, 0, None, None), Standing(4, 8, 8, 3, 9.0)
    assert between(start, end, 1.0) is end
    assert between(start, end, 0.5) == Standing(2, 4, 4, None, None)
    assert math.isclose(between(end, end, 0.3).batches, 4)


def test_finer_stretch_is_exact_and_what_lies_beside_it_keeps_its_place() -> None:
    coarse, single = course(40, 40, 40), course(*[1] * 120)
    middle = [whole(0, records(batch, 1), batch) for batch in range(50, 70)]
    joined = coarse.refined(Course.follow(middle, single.standings[49]))
    assert joined.ends == sorted(joined.ends)
    for time in [time / 2 for time in range(-1, 241)]:
        stood = joined.at(time).batches
        if 50 <= time < 69:  # in a bucket of many its first batch is taken to be made at once
            assert stood == single.at(time).batches, time
        assert stood == pytest.approx(single.at(time).batches, abs=1.5), time
    assert coarse.refined(Course(Standing())) is coarse
