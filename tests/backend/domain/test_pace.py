"""How often a run records, learnt from its gaps: bursts, pauses, hangs and changes of pace."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossboard_server.domain.pace import STALLED_AFTER_S, Pace

gaps = st.lists(st.floats(0, 1e6), max_size=30)


def test_nothing_is_known_before_the_first_record() -> None:
    assert Pace().stalled_after_s is None
    assert Pace().lost_after_s == 30


@pytest.mark.parametrize(("gap", "stalled"), [(0.01, 60), (5.9, 60), (6.1, 61), (300, 3000)])
def test_steady_loop_is_stalled_after_ten_intervals_and_a_minute(gap: float, stalled: float) -> None:
    pace = Pace().begin(gap).after([gap] * 100)
    assert pace.usual_s == pytest.approx(gap)
    assert pace.stalled_after_s == pytest.approx(stalled)


def test_losses_logged_together_once_an_epoch_do_not_make_the_interval_short() -> None:
    epoch = [600.0, *[0.0001] * 19]
    pace = Pace().begin(600).after(epoch[1:]).after(epoch)
    assert pace.usual_s == pytest.approx(600, rel=0.01)


def test_way_to_the_first_record_stands_for_the_interval_until_a_better_is_known() -> None:
    once_an_epoch = Pace().begin(600).after([0.001] * 5)
    assert once_an_epoch.stalled_after_s == pytest.approx(6000, rel=0.01)
    slow_start = Pace().begin(120)
    assert slow_start.stalled_after_s == 1200
    assert slow_start.after([0.1] * 3000).stalled_after_s == STALLED_AFTER_S


def test_pause_that_comes_again_is_no_stall() -> None:
    pace = Pace().begin(1).after([0.1] * 6000)
    assert pace.stalled_after_s == 60
    epoch = [300.0, *[0.1] * 30_000]  # five minutes without a record, once in an hour
    pace = pace.after(epoch).after(epoch)
    assert pace.usual_s is not None
    assert pace.usual_s < 10
    assert pace.stalled_after_s is not None
    assert 300 < pace.stalled_after_s < 1200


def test_one_hang_does_not_make_hangs_usual() -> None:
    pace = Pace().begin(1).after([0.1] * 6000).after([10_800.0]).after([0.1] * 6000)
    assert pace.stalled_after_s is not None
    assert pace.stalled_after_s <= 240


def test_loop_that_changes_its_pace_is_known_by_the_new_one() -> None:
    fast = Pace().begin(600).after([600.0] * 20).after([0.1] * 36_000 * 8)
    assert fast.usual_s is not None
    assert fast.usual_s < 100
    slow = Pace().begin(0.1).after([0.1] * 36_000)
    for _ in range(4):
        slow = slow.after([900.0])
    assert slow.stalled_after_s is not None
    assert slow.stalled_after_s > 900


def test_records_of_one_moment_tell_no_interval() -> None:
    assert Pace().begin(0).after([0.0] * 10) == Pace(0.0, 0.0, 0.0)


@given(st.floats(0, 1e6), st.lists(gaps, max_size=10))
def test_pace_stays_finite_and_within_what_was_seen(first: float, deliveries: list[list[float]]) -> None:
    pace = Pace().begin(first)
    most = first
    for own in deliveries:
        pace = pace.after(own)
        most = max(most, *own, 0.0)
        assert pace.usual_s is not None
        assert 0 <= pace.usual_s <= most * (1 + 1e-9)
        assert pace.pause_s <= most
        assert pace.stalled_after_s is not None
        assert pace.stalled_after_s >= STALLED_AFTER_S
