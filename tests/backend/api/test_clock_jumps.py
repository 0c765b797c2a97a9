"""Clocks that jump backwards, the service's and a training's: ages stay sensible and nothing is lost."""

from collections.abc import Iterator
from typing import Any

import pytest

from living_runs import World, Writer

HOUR_S = 3600.0


@pytest.fixture
def writer(world: World) -> Writer:
    """A training that has logged for a while."""
    return Writer(world).start()


def ages(run: dict[str, Any]) -> Iterator[float]:
    """Return every age that a run tells."""
    for key in ("last_record_age_s", "last_seen_age_s", "state_holds_s"):
        if run[key] is not None:
            yield run[key]


def test_service_whose_clock_jumps_back_shows_no_negative_age_and_still_notices_a_loss(
    world: World, writer: Writer
) -> None:
    for _ in range(20):
        writer.log(0)
        world.pass_by(1)
    world.pass_by(-HOUR_S)
    shown = world.get()
    assert shown["state"] == "running"
    assert min(ages(shown)) >= 0
    for _ in range(5):
        writer.log(0)
        world.pass_by(1)
        assert world.state() == "running"
    world.pass_by(40)
    assert world.state() == "lost"
    assert min(ages(world.get())) >= 0


def test_training_whose_clock_jumps_back_keeps_its_order_and_every_record(
    world: World, writer: Writer
) -> None:
    for _ in range(10):
        writer.log(0)
        world.pass_by(1)
    writer.ahead = -HOUR_S
    for _ in range(10):
        writer.log(0)
        world.pass_by(1)
    shown = world.get()
    assert shown["records"] == 20
    assert shown["state"] == "running"
    assert min(ages(shown)) >= 0
    for x in ("batch", "items", "step", "time", "epoch"):
        answer = world.service.get(f"/api/v1/curves?run=r&series=train/loss&x={x}&points=100").json()
        (curve,) = answer["curves"]
        known = [value for value in curve["x"] if value is not None]
        assert known == sorted(known), x
        if x == "batch":
            assert len(known) == 20


def test_login_link_made_before_a_jump_works_after_it(world: World) -> None:
    link = world.service.post("/login-links").json()["url"]
    world.pass_by(-HOUR_S)
    assert world.service.get(link, follow_redirects=False).status_code < 400


def test_runs_made_after_a_jump_are_listed_and_followed(world: World, writer: Writer) -> None:
    writer.log(0)
    world.pass_by(-HOUR_S)
    Writer(world, run="later").start().log(0)
    runs = world.service.get("/api/v1/runs").json()["runs"]
    assert {run["run"] for run in runs} == {"r", "later"}
    path = "/api/v1/curves?run=r&run=later&series=train/loss&x=batch"
    cursor = world.service.get(path).json()["cursor"]
    writer.log(0)
    changed = world.service.get(f"{path}&since={cursor}").json()
    assert sum(curve["records"] for curve in changed["curves"]) >= 1
