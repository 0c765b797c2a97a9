"""Which records a later attempt hides."""

from lossboard_server.domain.attempts import Attempt, find_cuts


def test_one_attempt_hides_nothing() -> None:
    assert find_cuts([Attempt(0, 1.0, (0, 0))]) == {0: None}


def test_later_attempt_hides_from_its_start() -> None:
    assert find_cuts([Attempt(0, 1.0, (0, 0)), Attempt(1, 2.0, (1, 5))]) == {0: (1, 5), 1: None}


def test_earliest_of_the_later_starts_counts() -> None:
    attempts = [Attempt(0, 1.0, (0, 0)), Attempt(1, 2.0, (3, 0)), Attempt(2, 3.0, (2, 0))]
    assert find_cuts(attempts) == {0: (2, 0), 1: (2, 0), 2: None}


def test_unknown_start_hides_nothing() -> None:
    assert find_cuts([Attempt(0, 1.0, (0, 0)), Attempt(1, 2.0, None)]) == {0: None, 1: None}


def test_attempts_are_ordered_by_start_not_by_arrival() -> None:
    assert find_cuts([Attempt(0, 9.0, (2, 0)), Attempt(1, 1.0, (0, 0))]) == {0: None, 1: (2, 0)}
