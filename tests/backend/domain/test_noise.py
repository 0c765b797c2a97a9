"""The noise of a mean with the trend taken out."""

import math
import random
from typing import Any

import pytest

from lossboard_server.domain.noise import std_error_detrended
from lossboard_server.domain.summary import summarise
from oracle.rows import rows_of


def records(values: list[float], size: int | None = 2, **more: Any) -> list[dict[str, Any]]:
    return [
        {"epoch": 0, "batch": batch, "loss": value, "batch_size": size} | more
        for batch, value in enumerate(values)
    ]


def test_a_falling_loss_is_no_noise() -> None:
    # Items of standard deviation 1, 400 batches of 16, the mean falling from 10 to 0.
    rng = random.Random(4)
    values = [10 * (1 - batch / 400) + rng.gauss(0, 1 / 4) for batch in range(400)]
    rows = rows_of(records(values, 16))
    true = 1 / math.sqrt(400 * 16)
    scatter = summarise(rows).std_error
    assert scatter is not None
    assert scatter > 5 * true
    assert std_error_detrended(rows) == pytest.approx(true, rel=0.15)


def test_ranks_of_a_batch_are_one_batch() -> None:
    # Batches of 4 items with means 3 and 1: variance (3 − 1)² ÷ (1/4 + 1/4), over 8 items.
    rows = rows_of([*records([4.0, 2.0], rank=0), *records([2.0, 0.0], rank=1)])
    assert std_error_detrended(rows) == pytest.approx(math.sqrt(8 / 8))


def test_what_did_not_count_is_no_neighbour() -> None:
    with_nan = rows_of(records([4.0, math.nan, 2.0]))
    assert std_error_detrended(with_nan) == std_error_detrended(rows_of(records([4.0, 2.0])))


@pytest.mark.parametrize("values", [[], [3.0], [3.0, math.nan]])
def test_below_two_batches_there_is_none(values: list[float]) -> None:
    assert std_error_detrended(rows_of(records(values))) is None


def test_batches_of_unknown_size_have_none() -> None:
    assert std_error_detrended(rows_of(records([4.0, 2.0], None))) is None


def test_losses_at_the_end_of_the_doubles_do_not_raise() -> None:
    assert std_error_detrended(rows_of(records([1.7e308, -1.7e308, 1.0]))) == math.inf
