"""What is being sent is held within bounds: beyond them 429, and nothing is half taken."""

import gzip
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Connection
from starlette.testclient import TestClient

from doorway import assert_is_problem
from lossboard_server.api.intake import Intake
from lossboard_server.errors import Busy
from processes import poll

ROWS = 1_000


def rows_of(count: int) -> bytes:
    rows = [{"epoch": 0, "batch": batch, "loss": 1.5, "batch_size": 4} for batch in range(count)]
    return json.dumps({"records": rows}).encode()


def state_of(service: TestClient) -> Any:
    return service.app.state  # type: ignore[attr-defined]


def test_request_alone_may_be_larger_than_the_bound() -> None:
    with Intake(100).hold() as held:
        held.grow_to(1_000)


def test_requests_together_may_not_and_let_go_what_they_held() -> None:
    intake = Intake(100)
    with intake.hold() as first:
        first.grow_to(60)
        first.grow_to(80)
        with intake.hold() as second:
            with pytest.raises(Busy) as refusal:
                second.grow_to(21)
            second.grow_to(20)
        assert intake.held_bytes == 80
    assert refusal.value.headers == {"Retry-After": "1"}
    assert (intake.held_bytes, intake.refused) == (0, 1)


@pytest.mark.parametrize("encoding", [None, "gzip"])
def test_body_beyond_the_bound_is_busy_while_others_wait_and_taken_when_they_are_stored(
    service: TestClient, run: str, encoding: str | None
) -> None:
    body = rows_of(ROWS)
    state = state_of(service)
    state.intake.limit_bytes = len(body) * 3 // 2
    gate = threading.Event()

    def hold_the_disk(_: Connection) -> tuple[None, list[Any]]:
        gate.wait(20)
        return None, []

    state.store.write(hold_the_disk)
    content, headers = body, {}
    if encoding == "gzip":
        content, headers = gzip.compress(body), {"Content-Encoding": "gzip"}
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(service.post, f"{run}/records", content=body)
        poll(lambda: state.intake.held_bytes == len(body), "the first body")
        refused = service.post(f"{run}/records", content=content, headers=headers)
        assert_is_problem(refused, 429, "busy")
        assert refused.headers["retry-after"] == "1"
        gate.set()
        assert waiting.result(20).json()["stored"] == ROWS
    again = service.post(f"{run}/records", content=content, headers=headers)
    assert again.json()["stored"] == ROWS
    assert state.intake.held_bytes == 0


def test_refused_and_failed_requests_hold_nothing(service: TestClient, run: str) -> None:
    assert service.post(f"{run}/records", content=b"[").status_code == 400
    assert service.post("/api/v1/runs/none/records", content=rows_of(1)).status_code == 404
    assert state_of(service).intake.held_bytes == 0


def test_metrics_tell_what_is_held_stored_and_refused(service: TestClient, run: str) -> None:
    service.post(f"{run}/records", content=rows_of(10))
    answer = service.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    values = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#"))
    assert values['lossboard_storage{state="ok"}'] == "1"
    assert values['lossboard_storage{state="full"}'] == "0"
    assert int(values["lossboard_commits_total"]) >= 2
    assert values["lossboard_held_bytes"] == values['lossboard_refused_total{reason="queue"}'] == "0"
    helped = [line.split()[2] for line in answer.text.splitlines() if line.startswith("# HELP")]
    assert {name.partition("{")[0] for name in values} == set(helped)
