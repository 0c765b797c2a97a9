"""The sending thread: how often it asks for the training's processor."""

import time
from collections.abc import Callable
from typing import Any

import pytest

import lossboard
from lossboard.sending.sender import LOOK_S, find_rest

StartRun = Callable[..., lossboard.Run]


def test_trickle_is_gathered_between_two_looks(service: Any, start_run: StartRun) -> None:
    run = start_run()
    began = time.monotonic()
    for batch in range(200):
        run.log(0, batch, 1.0, 4)
        time.sleep(0.002)
    run.finish()
    looks = (time.monotonic() - began) / LOOK_S
    assert len(service.posts) <= looks + 4, "one a look, and the first and last words"
    assert len(service.rows) == 200


def test_run_with_a_backlog_says_first_that_it_is_alive(
    absent_service: Any, start_run: StartRun, poll: Callable[..., None]
) -> None:
    run = start_run()
    for batch in range(12_000):
        run.log(0, batch, 1.0, 4)
    absent_service.start()
    poll(lambda: len(absent_service.rows) == 12_000)
    assert absent_service.posts[0].get("state") == "running"


def test_heartbeat_that_fails_does_not_hold_up_the_records(
    service: Any, start_run: StartRun, poll: Callable[..., None]
) -> None:
    take = service.post

    def refuse(run: str, body: dict[str, Any]) -> Any:
        return (400, {"code": "invalid", "detail": "bad"}) if "state" in body else take(run, body)

    service.post = refuse
    run = start_run()
    run.log(0, 0, 1.0, 4)
    poll(lambda: len(service.rows) == 1)


@pytest.mark.parametrize(
    ("used_s", "took_s", "rest_s"),
    [(0.0, 0.0, 0.05), (0.001, 0.002, 0.1), (0.0001, 0.1, 0.3), (0.02, 0.1, 0.5), (0.0, 30.0, 0.5)],
)
def test_rest_is_by_what_a_request_cost_here_and_there(used_s: float, took_s: float, rest_s: float) -> None:
    assert find_rest(used_s, took_s) == pytest.approx(rest_s)
