"""Which records a later attempt hides, and where its epochs and steps go on."""

from hypothesis import given
from hypothesis import strategies as st

from lossboard_server.domain.attempts import (
    Attempt,
    Position,
    Span,
    Stretch,
    count_steps_before,
    find_hidden,
    find_stretches,
)

FIRST = Attempt(0, 1.0, (0, 0))
SECOND = Attempt(1, 2.0, (1, 5))
THIRD = Attempt(2, 3.0, (2, 0))


def find_ends(*attempts: Attempt) -> dict[int, Position | None]:
    return {key: stretch.end for key, stretch in find_stretches(attempts, {}).items()}


def shows(stretch: Stretch, epoch: int, batch: int) -> bool:
    batches = stretch.batches(epoch)
    return batches is None or batches.start <= batch < batches.stop


def test_one_attempt_hides_nothing() -> None:
    assert find_ends(FIRST) == {0: None}


def test_later_attempt_hides_from_its_start() -> None:
    assert find_ends(FIRST, SECOND) == {0: (1, 5), 1: None}


def test_earliest_of_the_later_starts_counts() -> None:
    assert find_ends(FIRST, Attempt(1, 2.0, (3, 0)), THIRD)[0] == (2, 0)


def test_attempt_that_began_behind_a_later_start_is_hidden_as_a_whole() -> None:
    stretch = find_stretches([FIRST, Attempt(1, 2.0, (2, 4)), THIRD], {})[1]
    assert not any(stretch.shows(epoch) for epoch in (-1, 0, 1, 2, 3))


def test_unknown_start_hides_nothing() -> None:
    assert find_ends(FIRST, Attempt(1, 2.0, None)) == {0: None, 1: None}


def test_attempts_are_ordered_by_start_not_by_arrival() -> None:
    assert find_ends(Attempt(0, 9.0, (2, 0)), Attempt(1, 1.0, (0, 0))) == {0: None, 1: (2, 0)}


def test_undeclared_epoch_stands_where_epoch_0_does() -> None:
    stretch = find_stretches([FIRST, Attempt(1, 2.0, (0, 7))], {})[0]
    assert [shows(stretch, -1, batch) for batch in (0, 6, 7)] == [True, True, False]
    assert not find_stretches([FIRST, Attempt(1, 2.0, (0, 0))], {})[0].shows(-1)
    assert shows(find_stretches([FIRST, SECOND], {})[0], -1, 10**9)


def test_epochs_of_unknown_position_are_counted_on() -> None:
    attempts = [FIRST, Attempt(1, 2.0, None), Attempt(2, 3.0, None)]
    shown = find_stretches(attempts, {0: 4, 1: 1, 2: 0})
    assert [stretch.place(0, 0, True) for stretch in shown.values()] == [(0, 0), (5, 0), (7, 0)]
    assert [stretch.place(-1, 0, True) for stretch in shown.values()] == [(-1, 0), (-1, 1), (-1, 2)]


def test_start_behind_epochs_that_were_counted_on_hides_them_where_they_are_shown() -> None:
    attempts = [FIRST, Attempt(1, 2.0, None), Attempt(2, 3.0, (6, 3))]
    shown = find_stretches(attempts, {0: 4, 1: 9})[1]
    assert [shows(shown, *position) for position in ((0, 99), (1, 2), (1, 3), (2, 0))] == [
        True,
        True,
        False,
        False,
    ]


def test_hidden_attempts_count_nothing_on() -> None:
    attempts = [FIRST, Attempt(1, 2.0, (1, 0)), Attempt(2, 3.0, None)]
    assert find_stretches(attempts, {0: 8, 1: 3})[2].epochs_before == 4
    assert find_stretches(attempts[::2], {0: 8})[2].epochs_before == 9


positions = st.tuples(st.integers(0, 3), st.integers(0, 4))
attempts_of_any_kind = st.lists(st.none() | positions, min_size=1, max_size=5).map(
    lambda starts: [Attempt(10 - key, float(key), start) for key, start in enumerate(starts)]
)


@given(attempts_of_any_kind)
def test_every_record_is_either_shown_or_hidden_once(attempts: list[Attempt]) -> None:
    reach = {attempt.key: 3 for attempt in attempts}
    shown = find_stretches(attempts, reach)
    hidden = {each.key: each for each in find_hidden(attempts, reach, set(reach))}
    for attempt in attempts:
        for epoch in range(-1, 4):
            for batch in range(6):
                if (max(epoch, 0), batch) < (attempt.start or (0, 0)):
                    continue
                is_shown = shows(shown[attempt.key], epoch, batch)
                apart = hidden.get(attempt.key)
                assert is_shown != (apart is not None and shows(apart.stretches[attempt.key], epoch, batch))


@given(st.lists(positions, min_size=1, max_size=5))
def test_record_is_hidden_iff_a_later_start_is_not_behind_it(starts: list[Position]) -> None:
    attempts = [Attempt(key, float(key), start) for key, start in enumerate(starts)]
    shown = find_stretches(attempts, {})
    for attempt in attempts:
        for position in ((epoch, batch) for epoch in range(5) for batch in range(6)):
            if attempt.start is not None and position >= attempt.start:
                is_hidden = any(start <= position for start in starts[attempt.key + 1 :])
                assert shows(shown[attempt.key], *position) is not is_hidden


def test_what_is_hidden_begins_where_training_stood() -> None:
    attempts = [FIRST, Attempt(1, 2.0, (3, 0)), Attempt(2, 3.0, (1, 2))]
    first, second = find_hidden(attempts, {}, {0, 1})
    assert first.stretches == {0: Stretch(first=(1, 2))}
    assert first.before == {0: Stretch(end=(1, 2))}
    assert second.stretches == {1: Stretch()}
    assert second.seen == {0: Stretch(end=(3, 0)), 1: Stretch()}
    assert second.before == {0: Stretch(end=(3, 0))}


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
