"""Which records a later attempt hides, and where its steps go on."""

from lossboard_server.domain.attempts import Attempt, Span, count_steps_before, find_cuts

FIRST = Attempt(0, 1.0, (0, 0))
SECOND = Attempt(1, 2.0, (1, 5))
THIRD = Attempt(2, 3.0, (2, 0))


def test_one_attempt_hides_nothing() -> None:
    assert find_cuts([FIRST]) == {0: None}


def test_later_attempt_hides_from_its_start() -> None:
    assert find_cuts([FIRST, SECOND]) == {0: (1, 5), 1: None}


def test_earliest_of_the_later_starts_counts() -> None:
    attempts = [FIRST, Attempt(1, 2.0, (3, 0)), THIRD]
    assert find_cuts(attempts) == {0: (2, 0), 1: (2, 0), 2: None}


def test_unknown_start_hides_nothing() -> None:
    assert find_cuts([FIRST, Attempt(1, 2.0, None)]) == {0: None, 1: None}


def test_attempts_are_ordered_by_start_not_by_arrival() -> None:
    assert find_cuts([Attempt(0, 9.0, (2, 0)), Attempt(1, 1.0, (0, 0))]) == {0: None, 1: (2, 0)}


def test_steps_of_the_first_attempt_stay_as_they_are() -> None:
    assert count_steps_before([FIRST], {0: Span(0, 99)}) == {}


def test_each_attempt_goes_on_after_all_visible_steps_before_it() -> None:
    spans = {0: Span(0, 14), 1: Span(0, 4), 2: Span(0, 9)}
    assert count_steps_before([THIRD, FIRST, SECOND], spans) == {1: 15, 2: 20}


def test_attempt_without_steps_moves_nothing() -> None:
    assert count_steps_before([FIRST, SECOND, THIRD], {0: Span(0, 14), 2: Span(0, 9)}) == {1: 15, 2: 15}
    assert count_steps_before([FIRST, SECOND], {}) == {}


def test_attempt_that_counts_on_by_itself_is_left_alone() -> None:
    spans = {0: Span(0, 14), 1: Span(15, 30), 2: Span(0, 9)}
    assert count_steps_before([FIRST, SECOND, THIRD], spans) == {2: 31}
