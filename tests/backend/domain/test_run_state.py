"""The state of a run from what was told and from time, without a database."""

from itertools import permutations

import pytest

from lossboard import wire
from lossboard_server.domain.run_state import RUN_STATES, Life, follow, join


def test_states_of_the_wire_are_the_first_that_a_run_may_be_in() -> None:
    assert set(wire.STATES) | {"stalled", "lost"} == set(RUN_STATES)
    assert wire.END_STATES == ("finished", "failed", "killed")
    assert set(wire.SCRIPT_STATES) == set(wire.END_STATES) - {"killed"}


@pytest.mark.parametrize("own", wire.SCRIPT_STATES)
@pytest.mark.parametrize("late", ["running", "killed"])
def test_own_goodbye_is_final(own: str, late: str) -> None:
    assert follow(own, late) == own


@pytest.mark.parametrize("told", wire.STATES)
def test_writer_that_was_found_dead_may_speak_again(told: str) -> None:
    assert follow("killed", told) == told


@pytest.mark.parametrize(
    ("states", "joined"),
    [
        ((), None),
        (("finished", "finished"), "finished"),
        (("finished", "killed"), "killed"),
        (("finished", "killed", "failed"), "failed"),
        (("killed", "running", "failed"), "running"),
    ],
)
def test_ranks_come_to_the_worst_once_none_runs(states: tuple[str, ...], joined: str | None) -> None:
    for order in permutations(states):
        assert join(order) == joined


def test_state_follows_from_the_two_silences() -> None:
    assert Life("running", 30, 30, 60, 60).state == "running"
    assert Life("running", 30, 30, 61, 60).state == "stalled"
    assert Life("running", 31, 30, 61, 60).state == "lost"
    assert Life("running", 31, 30, 1, 60).state == "lost"
    assert Life("running", 5, 30, None, 60).state == "running"
    assert Life("running", 5, 30, 1000, None).state == "running"
    for end in wire.END_STATES:
        assert Life(end, 1e6, 30, 1e6, 60).state == end


@pytest.mark.parametrize(
    ("life", "holds"),
    [
        (Life("running", 10, 30, 5, 60), 20),
        (Life("running", 1, 30, 55, 60), 5),
        (Life("running", 1, 30), 29),
        (Life("running", 4, 30, 80, 60), 26),  # stalled, until it is lost
        (Life("running", 40, 30), None),
        (Life("killed", 1, 30, 1, 60), None),
    ],
)
def test_it_is_known_for_how_long_a_state_holds(life: Life, holds: float | None) -> None:
    assert life.holds_s == holds
    if holds is not None:
        unrecorded = None if life.unrecorded_s is None else life.unrecorded_s + holds
        at_the_end = (life.silent_s + holds, life.lost_after_s, unrecorded, life.stalled_after_s)
        assert Life("running", *at_the_end).state == life.state
        later = (at_the_end[0] + 0.1, 30, None if unrecorded is None else unrecorded + 0.1, 60)
        assert Life("running", *later).state != life.state
