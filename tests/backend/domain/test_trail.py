"""The trail: never a change that a follower is not told, and not much more than that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossboard_server.domain.trail import MAX_MARKS, Trail


def test_follower_is_told_from_the_first_change_after_its_version() -> None:
    trail = Trail()
    for version in range(1, 6):
        trail.extend(version, 0, 0, 100 * version)
    changed = trail.find_changed(3)
    assert changed is not None
    assert (changed.epoch, changed.batch) == (0, 400)
    assert trail.find_changed(5) is None


def test_late_change_hides_the_later_positions_before_it() -> None:
    trail = Trail()
    for version, batch in ((1, 10), (2, 20), (3, 5), (4, 30)):
        trail.extend(version, 0, 1, batch)
    assert [mark.batch for mark in trail.marks] == [5, 30]
    assert trail.find_changed(1) == (3, 1, 5)


def test_change_of_another_attempt_is_known_from_there_on_only() -> None:
    trail = Trail()
    trail.extend(1, 0, 7, 0)
    trail.extend(2, 1, 3, 0)
    assert trail.find_changed(1) == (2, 3, 0)
    with pytest.raises(LookupError):
        trail.find_changed(0)


def test_change_of_two_attempts_at_once_has_no_first_position() -> None:
    trail = Trail()
    trail.extend(1, 0, 7, 0)
    trail.extend(2, 0, 8, 0)
    trail.extend(2, 1, 3, 0)
    with pytest.raises(LookupError):
        trail.find_changed(1)
    trail.extend(3, 1, 4, 0)
    assert trail.find_changed(2) == (3, 4, 0)


def test_trail_that_knows_nothing_says_so() -> None:
    with pytest.raises(LookupError):
        Trail.read([]).find_changed(0)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), min_size=1, max_size=200), st.data())
def test_no_change_after_a_version_lies_before_what_is_told(
    changes: list[tuple[int, int]], data: st.DataObject
) -> None:
    trail = Trail()
    for version, position in enumerate(changes, start=1):
        trail = Trail.read(trail.store())
        trail.extend(version, 0, *position)
    assert len(trail.marks) <= MAX_MARKS
    asked = data.draw(st.integers(0, len(changes)))
    told = trail.find_changed(asked)
    after = changes[asked:]
    assert (told is None) == (not after)
    if told is not None:
        assert told[1:] <= min(after)


def test_newest_changes_are_told_exactly_while_training_goes_on() -> None:
    trail = Trail()
    for version in range(1, 1001):
        trail.extend(version, 0, 0, 50 * version)
    for asked in range(997, 1000):
        assert trail.find_changed(asked) == (asked + 1, 0, 50 * (asked + 1))
    told = trail.find_changed(900)
    assert told is not None
    assert told.batch > 50 * 700, "what is longer ago is told coarsely, and no coarser than its age"
