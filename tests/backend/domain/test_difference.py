"""The difference of two curves: at the same place, on the baseline's line, and nowhere else."""

import pytest

from lossboard_server.domain.difference import subtract

BASE = ([0.0, 2.0, 4.0, 6.0], [10.0, 8.0, None, 4.0])


def test_line_between_two_points_is_what_is_drawn() -> None:
    assert subtract([0.0, 1.0, 2.0], [10.0, 10.0, 10.0], *BASE, is_joined=True) == [0.0, 1.0, 2.0]


def test_nothing_lies_beyond_the_ends_or_beside_a_gap() -> None:
    places = [-1.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    assert subtract(places, [5.0] * 6, *BASE, is_joined=True) == [None, None, None, None, 1.0, None]


def test_points_that_are_not_joined_are_compared_one_with_one() -> None:
    assert subtract([1.0, 2.0], [9.0, 9.0], *BASE, is_joined=False) == [None, 1.0]


@pytest.mark.parametrize(("x", "y"), [(None, 1.0), (2.0, None), (2.0, float("inf")), (2.0, float("nan"))])
def test_what_is_not_there_or_not_finite_has_no_difference(x: float | None, y: float | None) -> None:
    assert subtract([x], [y], *BASE, is_joined=True) == [None]


def test_places_of_a_baseline_that_nobody_knows_are_passed_over() -> None:
    assert subtract([1.0], [9.0], [None, 0.0, 2.0], [1.0, 8.0, 8.0], is_joined=True) == [1.0]
