"""The step objective: from rows exactly, from summaries where they tell it."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossboard_server.domain.meaning import Reduction
from lossboard_server.domain.objective import from_rows, from_summaries, steps_of
from lossboard_server.domain.summary import Row
from lossboard_server.domain.views import needs_rows
from oracle.rows import by_rank, rows_of

losses = st.floats(-100, 100, allow_subnormal=False)


def records(values: list[float], **more: Any) -> list[dict[str, Any]]:
    return [
        {"epoch": 0, "batch": batch, "loss": value, "batch_size": 2} | more
        for batch, value in enumerate(values)
    ]


@st.composite
def regular_epochs(draw: st.DrawFn) -> tuple[list[Row], Reduction]:
    """Ranks of equal length, their batches coming out even over the steps."""
    ranks, steps, window = draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 4))
    reduction = draw(st.sampled_from(["mean", "sum", "sum_over_window"]))
    has_steps = window > 1 or draw(st.booleans())
    count = steps * window
    made = []
    for rank in range(ranks):
        values = draw(st.lists(losses, min_size=count, max_size=count))
        for record in records(values, rank=rank, reduction=reduction, window_items=4):
            made.append(record | {"step": 7 + record["batch"] // window if has_steps else None})
    return rows_of(made), Reduction.named(reduction)


@given(regular_epochs())
def test_summaries_of_regular_windows_tell_what_the_rows_tell(epoch: tuple[list[Row], Reduction]) -> None:
    rows, reduction = epoch
    ranks = list(by_rank(rows).values())
    assert not needs_rows(ranks, reduction)
    assert from_summaries(ranks, reduction) == pytest.approx(from_rows(rows, reduction), rel=1e-12, abs=1e-12)


def test_a_leftover_window_counts_as_a_whole_step() -> None:
    made = records([4.0, 2.0, 6.0])
    rows = rows_of([record | {"step": record["batch"] // 2} for record in made])
    assert [(step.objective, step.micro_batches) for step in steps_of(rows, Reduction.MEAN)] == [
        (3, 2),
        (6, 1),
    ]
    assert from_rows(rows, Reduction.MEAN) == 4.5
    assert needs_rows(list(by_rank(rows).values()), Reduction.MEAN)


def test_shares_of_a_window_add_up_and_ranks_are_averaged() -> None:
    made = [
        *records([3.0, 1.0], rank=0, step=0, reduction="sum_over_window", window_items=8),
        *records([1.0, 3.0], rank=1, step=0, reduction="sum_over_window", window_items=8),
    ]
    rows = rows_of(made)
    assert from_rows(rows, Reduction.SUM_OVER_WINDOW) == 4.0
    assert from_summaries(list(by_rank(rows).values()), Reduction.SUM_OVER_WINDOW) == 4.0


def test_a_window_that_lacks_a_share_is_left_out() -> None:
    values = [3.0, math.nan, 2.0, 2.0]
    made = records(values, reduction="sum_over_window", window_items=4)
    rows = rows_of([record | {"step": record["batch"] // 2} for record in made])
    assert needs_rows(list(by_rank(rows).values()), Reduction.SUM_OVER_WINDOW)
    assert from_rows(rows, Reduction.SUM_OVER_WINDOW) == 4.0


def test_a_mean_goes_over_the_micro_batches_that_are_finite() -> None:
    made = records([3.0, math.nan, 2.0, 4.0])
    rows = rows_of([record | {"step": record["batch"] // 2} for record in made])
    assert from_rows(rows, Reduction.MEAN) == 3.0


def test_the_same_batch_of_several_ranks_is_one_step() -> None:
    rows = rows_of([*records([4.0, 2.0], rank=0), *records([2.0, 4.0, 9.0], rank=1)])
    assert [step.objective for step in steps_of(rows, Reduction.MEAN)] == [3.0, 3.0, 9.0]


def test_calls_of_one_batch_add_up() -> None:
    rows = rows_of([*records([1.0]), *records([2.0]), *records([3.0])])
    assert from_rows(rows, Reduction.MEAN) == 6.0
    assert needs_rows(list(by_rank(rows).values()), Reduction.MEAN)


def test_nothing_finite_has_no_objective() -> None:
    assert from_rows(rows_of(records([math.nan])), Reduction.MEAN) is None


def test_targets_all_ignored_are_no_part_of_a_step() -> None:
    rows = rows_of([*records([3.0]), *records([math.nan], weight=0.0, rank=1)])
    assert from_rows(rows, Reduction.MEAN) == 3.0


def test_a_step_pools_its_records_by_weight() -> None:
    rows = rows_of([*records([4.0], weight=6.0), *records([1.0], weight=2.0, rank=1)])
    (step,) = steps_of(rows, Reduction.MEAN)
    assert (step.objective, step.pooled) == (2.5, 3.25)
