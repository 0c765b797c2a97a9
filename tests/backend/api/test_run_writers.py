"""What several ranks and attempts tell of one run: who counts, and what comes too late."""

import pytest

from living_runs import World, Writer, by_hand


def test_resumed_run_is_not_stalled_before_its_first_record_and_the_night_is_no_pause(world: World) -> None:
    first = Writer(world, attempt=world.now).start()
    first.train(30, 1)
    world.pass_by(8 * 3600)
    assert world.state() == "lost"
    second = Writer(world, attempt=world.now).start()
    assert world.state() == "running"
    second.wait(300)
    assert world.state() == "running", "it loads its data"
    second.train(30, 1)
    about = world.get()
    assert about["stalled_after_s"] == 60
    second.wait(70)
    assert world.state() == "stalled"


@pytest.mark.parametrize("late", ["killed", "failed", "finished", None])
@pytest.mark.parametrize("state", ["running", "finished"])
def test_journal_of_an_earlier_attempt_changes_nothing(world: World, late: str | None, state: str) -> None:
    first = Writer(world, attempt=100).start()
    first.train(10, 1)
    world.pass_by(5)
    second = Writer(world, attempt=200).start()
    second.train(10, 1)
    second.tell(state)
    world.pass_by(20)
    before = world.get()
    first.start()
    first.log(30, 29, 28)
    first.log(27, tells_clock=False)
    if late:
        first.tell(late)
    after = world.get()
    assert {key: after[key] for key in ("state", "ranks", "last_seen_age_s", "last_record_age_s")} == {
        key: before[key] for key in ("state", "ranks", "last_seen_age_s", "last_record_age_s")
    }
    world.pass_by(40)
    assert world.state() == ("lost" if state == "running" else "finished")


def test_earlier_attempts_that_come_later_start_nothing_again(world: World) -> None:
    Writer(world, attempt=200).start().tell("finished")
    early = Writer(world, attempt=100).start()
    assert world.state() == "finished"
    early.log(10_000)
    early.tell("killed")
    assert world.state() == "finished"


def test_attempt_that_still_lives_beside_a_newer_one_keeps_the_run_running(world: World) -> None:
    first = Writer(world, attempt=100).start()
    first.train(20, 1)
    second = Writer(world, attempt=200).start()
    world.pass_by(1)
    first.tell("running")
    second.tell("finished")
    assert world.state() == "running"
    first.tell("failed")
    assert world.state() == "failed"


def test_late_killed_does_not_undo_the_own_end(world: World) -> None:
    writer = Writer(world).start()
    for end in ("finished", "failed"):
        writer.tell(end)
        writer.tell("killed")
        writer.tell("running")
        assert world.state() == end


def test_heartbeat_after_killed_makes_it_running_again(world: World) -> None:
    writer = Writer(world).start()
    writer.train(20, 1)
    writer.tell("killed")
    assert world.state() == "killed"
    writer.log(30)
    assert world.state() == "killed", "what is left of a journal is no sign of life"
    world.pass_by(600)
    writer.tell("running")
    assert world.get()["last_seen_age_s"] == 0
    assert world.state() in ("running", "stalled")


@pytest.mark.parametrize(
    ("ends", "state"),
    [
        (("finished", "finished"), "finished"),
        (("finished", "killed"), "killed"),
        (("killed", "failed"), "failed"),
        (("failed", "finished"), "failed"),
    ],
)
def test_several_ranks_come_to_the_worst(world: World, ends: tuple[str, str], state: str) -> None:
    ranks = [Writer(world, rank=rank).start() for rank in range(2)]
    for rank in ranks:
        rank.tell("running")
    ranks[0].tell(ends[0])
    about = world.get()
    assert (about["state"], about["ranks"]) == ("running", {ends[0]: 1, "running": 1})
    ranks[1].tell(ends[1])
    assert world.state() == state


def test_rank_that_fell_silent_beside_one_that_lives_is_told(world: World) -> None:
    ranks = [Writer(world, rank=rank).start() for rank in range(3)]
    for rank in ranks:
        rank.tell("running")
    ranks[2].tell("killed")
    ranks[0].wait(40)
    about = world.get()
    assert (about["state"], about["ranks"]) == ("running", {"running": 1, "lost": 1, "killed": 1})
    ranks[0].tell("finished")
    world.pass_by(31)
    assert world.state() == "lost", "rank 1 never said goodbye"
    ranks[1].tell("killed")
    assert world.state() == "killed"


def test_rank_started_again_is_as_its_newest_writer_says(world: World) -> None:
    first = Writer(world)
    first.start()
    first.tell("running")
    world.pass_by(1)
    again = Writer(world)
    again.head["writer"] = "again"
    again.tell("running")
    first.tell("killed")
    assert world.get()["ranks"] == {"running": 1}
    again.tell("finished")
    assert world.state() == "finished"


def test_person_ends_a_lost_run_and_a_living_writer_says_otherwise(world: World) -> None:
    writer = Writer(world).start()
    writer.train(20, 1)
    by_hand(world, records=[], state="failed")
    assert world.state() == "running", "its writer lives"
    world.pass_by(40)
    by_hand(world, records=[], state="failed")
    assert world.state() == "failed"
    Writer(world, attempt=0.5).start().tell("killed")
    assert world.state() == "failed", "what an earlier attempt came to is no news of it"
    writer.tell("running")
    assert world.state() == "running"
