"""What one record's number means."""

import math

import pytest

from lossboard_server.domain.meaning import Evaluation, Reduction, measure


def test_mean_is_its_own_m_with_the_batch_size_as_weight() -> None:
    assert measure(Evaluation(4.5, 2, None, None, None, Reduction.MEAN)) == (4.5, 4.5, 2)


def test_sum_is_divided_by_its_weight() -> None:
    assert measure(Evaluation(12.0, 3, 4.0, None, None, Reduction.SUM)) == (12.0, 3.0, 4.0)


def test_windowed_sum_is_scaled_back_to_its_own_weight() -> None:
    # SEMANTICS: 24/7 returned for a micro-batch of 6 tokens in a window of 7.
    v, m, weight = measure(Evaluation(24 / 7, 2, 6.0, None, 7.0, Reduction.SUM_OVER_WINDOW))
    assert (v, weight) == (24 / 7, 6.0)
    assert m == pytest.approx(4.0, rel=1e-15)


def test_divisor_restores_what_accumulation_divided() -> None:
    assert measure(Evaluation(1.0, 2, None, 4.0, None, Reduction.MEAN)).m == 4.0


def test_weight_zero_measures_nothing() -> None:
    measured = measure(Evaluation(math.nan, 2, 0.0, None, None, Reduction.MEAN))
    assert measured.weight == 0.0
    assert math.isnan(measured.m)


@pytest.mark.parametrize(
    "evaluation",
    [
        Evaluation(7.0, None, None, None, None, Reduction.MEAN),
        Evaluation(7.0, 2, None, None, None, Reduction.UNKNOWN),
    ],
)
def test_undeclared_meaning_keeps_the_number_and_has_no_weight(evaluation: Evaluation) -> None:
    assert measure(evaluation) == (7.0, 7.0, None)
