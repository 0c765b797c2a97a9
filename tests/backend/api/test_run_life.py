"""The six states of a run over HTTP as time passes, by a clock that the test holds."""

from typing import Any

import pytest

from living_runs import World, Writer, by_hand


def test_run_stalls_after_a_minute_without_records_and_is_lost_after_half_a_minute_of_silence(
    world: World,
) -> None:
    writer = Writer(world).start()
    writer.train(20, 0.5)
    writer.wait(60)
    assert world.state() == "running"
    writer.wait(10)
    about = world.get()
    assert (about["state"], about["last_record_age_s"], about["usual_interval_s"]) == ("stalled", 70, 0.5)
    writer.train(1, 0.5)
    assert world.state() == "running"
    world.pass_by(30)
    assert world.state() == "running"
    world.pass_by(1)
    about = world.get()
    assert (about["state"], about["last_seen_age_s"]) == ("lost", 31)
    writer.tell("running")
    assert world.state() == "running", "its last record is 31 s old"


def test_loop_that_logs_once_an_epoch_is_not_stalled_between(world: World) -> None:
    writer = Writer(world).start()
    for _ in range(3):
        writer.wait(590)
        assert world.state() == "running"
        world.pass_by(10)
        writer.log(0.003, 0.002, 0.001, 0)  # four losses at once
    writer.wait(5_900)
    assert world.state() == "running"
    writer.wait(120)
    assert world.state() == "stalled"


def test_run_without_a_record_has_not_stalled(world: World) -> None:
    writer = Writer(world).start()
    writer.wait(3_600)
    about = world.get()
    assert (about["state"], about["last_record_age_s"], about["stalled_after_s"]) == ("running", None, None)


def test_validation_between_epochs_is_soon_taken_for_usual(world: World) -> None:
    writer = Writer(world).start()
    for _ in range(2):
        writer.train(60, 1)
        writer.wait(200)
    writer.train(60, 1)
    writer.wait(200)
    assert world.state() == "running"


@pytest.mark.parametrize("ahead", [-3600, 3600])
def test_clock_of_the_training_may_differ(world: World, ahead: float) -> None:
    for tells_clock in (True, False):
        run = f"r{tells_clock}"
        writer = Writer(world, run=run, ahead=ahead).start()
        writer.train(20, 0.5, tells_clock=tells_clock)
        about = world.get(run)
        assert (about["state"], about["last_record_age_s"]) == ("running", 0)
        assert about["usual_interval_s"] == pytest.approx(0.5, rel=1e-3)
        writer.wait(70)
        assert world.state(run) == "stalled"


def test_service_clock_that_is_set_back_makes_no_run_lost_and_no_age_negative(world: World) -> None:
    writer = Writer(world).start()
    writer.train(20, 0.5)
    world.pass_by(-7_200)
    about = world.get()
    assert (about["state"], about["last_record_age_s"], about["last_seen_age_s"]) == ("running", 0, 0)
    writer.train(20, 0.5)
    assert world.get()["usual_interval_s"] == pytest.approx(0.5, rel=1e-3)
    writer.wait(70)
    assert world.state() == "stalled", "its times were taken from the clock as it is now"
    world.pass_by(31)
    assert world.state() == "lost"


def test_offline_run_synced_late_is_as_old_as_its_records(world: World) -> None:
    writer = Writer(world, attempt=world.now - 100_000).start()
    writer.log(*(90_000.0 - 10 * step for step in range(100)))
    about = world.get()
    assert about["state"] == "lost", "its last sign of life is a day old"
    assert about["last_record_age_s"] == about["last_seen_age_s"] == 89_010
    assert about["usual_interval_s"] == 10
    writer.tell("killed")
    about = world.get()
    assert (about["state"], about["last_seen_age_s"]) == ("killed", 89_010)


def test_backlog_of_a_living_writer_moves_its_last_record_as_it_comes(world: World) -> None:
    writer = Writer(world).start()
    writer.log(*range(500, 250, -1))
    assert world.get()["last_record_age_s"] == 251
    writer.log(*range(250, -1, -1))
    about = world.get()
    assert (about["state"], about["last_record_age_s"]) == ("running", 0)
    assert about["usual_interval_s"] == 1


def test_run_by_hand_is_lost_once_it_is_quiet_for_longer_than_usual(world: World) -> None:
    by_hand(world)
    world.pass_by(31)
    assert world.state() == "lost"
    for _ in range(3):
        by_hand(world)
        world.pass_by(300)
    about = world.get()
    assert about["state"] == "running", "a row every five minutes"
    world.pass_by(3_000)
    assert world.state() == "lost"
    writer = Writer(world).start()
    by_hand(world)
    writer.tell("running")
    world.pass_by(31)
    assert world.state() == "lost", "one that beats need not be waited for so long"


def test_renaming_is_no_sign_of_life(world: World) -> None:
    Writer(world).start().train(5, 1)
    world.pass_by(100)
    world.service.put("/api/v1/runs/r", json={"name": "another"})
    about = world.get()
    assert (about["state"], about["last_seen_age_s"]) == ("lost", 100)


def test_page_is_told_for_how_long_a_state_holds(world: World) -> None:
    writer = Writer(world).start()
    writer.train(20, 0.5)
    assert world.get()["state_holds_s"] == 30
    world.pass_by(12)
    assert world.get()["state_holds_s"] == 18
    writer.tell("running")
    world.pass_by(28)
    writer.tell("running")
    assert world.get()["state_holds_s"] == 20, "then it has stalled"
    writer.tell("finished")
    assert world.get()["state_holds_s"] is None


def test_states_are_counted_over_all_runs(world: World) -> None:
    for run in ("a", "b"):
        Writer(world, run=run).start().tell("killed")
    lost = Writer(world, run="c").start()
    lost.tell("running")
    stalled = Writer(world, run="d").start()
    stalled.train(5, 1)
    stalled.wait(80)
    living = Writer(world, run="e").start()
    living.train(2, 1)
    stalled.tell("running")
    states = {run: world.state(run) for run in "abcde"}
    assert states == {"a": "killed", "b": "killed", "c": "lost", "d": "stalled", "e": "running"}


def test_unknown_state_is_refused(world: World) -> None:
    assert world.service.get("/api/v1/runs?state=sleeping").status_code == 422


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"records": [], "state": "killed"}, "killed needs the writer"),
        ({"records": [], "state": "stalled"}, "running, finished, failed"),
        ({"writer": "w", "records": [], "state": "lost"}, "running, finished, failed, killed"),
        ({"records": [], "sent": 1.0}, "needs a writer"),
        ({"writer": "w", "records": [], "sent": 1.8e12}, "unix seconds"),
        ({"writer": "w", "records": [], "sent": "now"}, "unix seconds"),
    ],
)
def test_state_and_clock_that_nobody_may_tell_are_refused_by_name(
    world: World, body: dict[str, Any], message: str
) -> None:
    world.service.put("/api/v1/runs/r", json={})
    answer = world.service.post("/api/v1/runs/r/records", json=body)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] in ("state", "sent")
    assert message in error["message"]
    assert world.get()["writers"] == []
