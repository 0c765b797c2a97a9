"""The sending thread: how often it asks for the training's processor."""

import time
from collections.abc import Callable
from typing import Any

import lossboard
from lossboard.sending.sender import LOOK_S

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
