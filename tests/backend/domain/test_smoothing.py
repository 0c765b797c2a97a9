"""Smoothing by items: the same curve for any batch size, carried on, corrected for its start."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossboard_server.domain.curves import Standing, draw, warm_up
from lossboard_server.domain.points import bucket_rows
from lossboard_server.domain.smoothing import Smoothing, smooth
from oracle.rows import rows_of

means = st.lists(st.floats(-100, 100), min_size=1, max_size=30)


@given(means, st.floats(0.5, 1e6), st.integers(1, 512))
def test_a_constant_stays_what_it_is_from_the_first_value_on(
    values: list[float], half_life: float, items: int
) -> None:
    constant = [values[0]] * len(values)
    assert smooth(constant, [items] * len(values), half_life) == pytest.approx(constant, rel=1e-12)


@given(means, means, st.floats(0.5, 1e4))
def test_a_state_carries_on_as_if_nothing_had_been_cut(
    before: list[float], after: list[float], half_life: float
) -> None:
    whole = smooth(before + after, [3] * (len(before) + len(after)), half_life)
    state = Smoothing(half_life)
    parts = smooth(before, [3] * len(before), half_life, state) + smooth(
        after, [3] * len(after), half_life, state
    )
    assert parts == whole


def test_batch_sizes_agree_at_equal_items() -> None:
    # A loss that falls with the items seen, cut into batches of 16 and of 256.
    def falling(size: int) -> float:
        count = 40_000 // size
        values = [10 * math.exp(-(batch + 0.5) * size / 10_000) for batch in range(count)]
        last = smooth(values, [size] * count, 2_000)[-1]
        assert last is not None
        return last

    assert falling(16) == pytest.approx(falling(256), rel=0.02)


def test_half_life_is_in_items() -> None:
    # After one half-life of zeros the old value weighs a half, before the correction for the start.
    state = Smoothing(100.0)
    smooth([1.0], [1_000_000], 100.0, state)
    assert state.follow(0.0, 100) == pytest.approx(0.5)


def test_nothing_measured_moves_nothing() -> None:
    assert smooth([4.0, None, math.inf, 2.0], [2, 2, 2, 2], 2.0) == [4.0, None, None, pytest.approx(8 / 3)]


def test_undeclared_sizes_count_as_one_item() -> None:
    assert smooth([4.0, 2.0], [None, None], 5.0) == smooth([4.0, 2.0], [1, 1], 5.0)


def test_a_zoomed_range_begins_where_the_whole_curve_stands() -> None:
    made = [{"epoch": 0, "batch": batch, "loss": float(batch % 7), "batch_size": 2} for batch in range(20)]
    rows = rows_of(made)
    whole = draw(bucket_rows(rows, 1, {(0, 0): 1}), "batch", Standing(), Smoothing(8.0))
    smoothing = Smoothing(8.0)
    warm_up(smoothing, bucket_rows(rows[:12], 1, {(0, 0): 1}).rows)
    zoomed = draw(bucket_rows(rows[12:], 1, {(0, 0): 1}), "batch", Standing(), smoothing)
    assert whole.smooth is not None
    assert zoomed.smooth == whole.smooth[12:]


def test_a_curve_has_no_smoothed_column_where_none_is_asked_for() -> None:
    rows = rows_of([{"epoch": 0, "batch": 0, "loss": 2.0, "batch_size": None}])
    assert draw(bucket_rows(rows, 1, {(0, 0): 1}), "batch", Standing()).smooth is None
