"""Two real services on one PostgreSQL: whichever dies, or the database, every record is there once."""

import http.client
import json
import random
import statistics
import threading
import time
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

import pytest

from accounts import Loop
from postgres_server import PostgresServer, running_postgres
from processes import Service, poll
from replicas import TOKEN, Replicas, running_replicas

pytestmark = [pytest.mark.live, pytest.mark.postgres]

RANKS = 3  # processes that train one run
KILLS = [2, pytest.param(20, marks=pytest.mark.soak)]
RESTARTS = [1, pytest.param(10, marks=pytest.mark.soak)]


# Its own server: that one is restarted, and keeps what it acknowledged.
@pytest.fixture(scope="module")
def durable() -> Iterator[PostgresServer]:
    with running_postgres(is_durable=True) as server:
        yield server


@pytest.fixture
def replicas(durable: PostgresServer, tmp_path: Path) -> Iterator[Replicas]:
    if not durable.is_running:  # a test broke off while it was down
        durable.start()
    with running_replicas(durable, tmp_path) as replicas:
        yield replicas


@pytest.fixture
def loops(replicas: Replicas, tmp_path: Path) -> Iterator[list[Loop]]:
    """Several processes that log to one run through the balancer."""
    told = replicas.environment | {"LOSSBOARD_RUN_ID": "shared"}
    loops = []
    for number in range(RANKS):
        folder = tmp_path / f"loop{number}"
        folder.mkdir()
        loops.append(Loop(folder, number, "--pace-s", "0.002", "--deadline-s", "20", **told))
    yield loops
    for loop in loops:
        if loop.process.poll() is None:
            loop.kill()


def wait_for_more(replicas: Replicas, loops: list[Loop], more: int = 100) -> None:
    """Wait until each loop's records go on arriving."""
    for loop in loops:
        known = replicas.count_rows(loop.epoch)
        poll(lambda loop=loop, known=known: replicas.count_rows(loop.epoch) >= known + more, "more records")


def check_all(replicas: Replicas, loops: list[Loop]) -> None:
    """End the loops, and hold what is stored against what they logged."""
    for loop in loops:
        assert not any(loop.end()["dropped"].values())
    logged = {loop.epoch: loop.logged() for loop in loops}
    poll(lambda: all(replicas.count_rows(epoch) >= n for epoch, n in logged.items()), "the last records")
    assert replicas.find_faults(logged) == []
    asked = [service for service in replicas.services if service.is_running]
    shown = [service.get("/api/v1/runs/shared") for service in asked]
    assert all(run["counts"]["records"] == sum(logged.values()) for run in shown)
    assert all(run["counts"]["gaps"] == 0 for run in shown)


@pytest.mark.parametrize("kills", KILLS)
def test_every_record_is_there_once_when_one_of_two_replicas_is_killed_under_load(
    replicas: Replicas, loops: list[Loop], kills: int
) -> None:
    chance = random.Random(kills)
    for number in range(kills):
        wait_for_more(replicas, loops)
        killed = replicas.services[number % 2]
        killed.kill()
        wait_for_more(replicas, loops)  # through the other one
        time.sleep(chance.uniform(0, 0.3))
        killed.start()
    wait_for_more(replicas, loops)
    check_all(replicas, loops)
    assert all(replicas.line.asked[service.port] > 10 for service in replicas.services), "one took nothing"


@pytest.mark.parametrize("restarts", RESTARTS)
@pytest.mark.parametrize("how", ["restart", "kill"])
def test_every_record_is_there_once_when_postgresql_is_restarted_under_load(
    replicas: Replicas, loops: list[Loop], restarts: int, how: str
) -> None:
    with listening(replicas.services[1], "/api/v1/events?run=shared") as heard:
        for _ in range(restarts):
            restart_under_load(replicas, loops, how)
            before = len(heard)
            poll(lambda before=before: len(heard) > before, "an event of after the restart")
    wait_for_more(replicas, loops)
    check_all(replicas, loops)


def restart_under_load(replicas: Replicas, loops: list[Loop], how: str) -> None:
    """Stop the database or let it crash, see what the services say meanwhile, and start it again."""
    wait_for_more(replicas, loops)
    (replicas.postgres.kill if how == "kill" else replicas.postgres.stop)()
    for service in replicas.services:
        assert ask(service, "GET", "/readyz")[0] == 503
        status, headers = ask(service, "POST", "/api/v1/runs/shared/records", '{"records": []}')
        assert (status, "Retry-After" in headers) == (503, True)
        assert ask(service, "GET", "/api/v1/runs")[0] == 503
        assert ask(service, "GET", "/healthz")[0] == 200
    replicas.postgres.start()
    for service in replicas.services:
        poll(
            lambda service=service: ask(service, "GET", "/readyz")[0] == 200, "a service that is ready again"
        )


def test_viewer_of_one_replica_hears_what_the_other_stores_within_half_a_second(replicas: Replicas) -> None:
    here, there = replicas.services
    here.send("PUT", "/api/v1/runs/r", {})
    times = []
    with listening(there, "/api/v1/events?run=r") as heard:
        for batch in range(9):
            row = {"epoch": 0, "batch": batch, "loss": 1.0, "batch_size": 2}
            began = time.monotonic()
            version = len(heard)
            here.send("POST", "/api/v1/runs/r/records", {"records": [row]})
            poll(lambda version=version: len(heard) > version, "the event")
            times.append(heard[-1][0] - began)
            time.sleep(0.3)  # a pace, so that no event waits for the one before
    median = statistics.median(times)
    print(f"event latency across replicas: median {median * 1e3:.0f} ms, at most {max(times) * 1e3:.0f}")
    assert median < 0.5
    assert max(times) < 3


def test_browser_that_came_in_by_one_replica_is_known_to_the_other(replicas: Replicas) -> None:
    here, there = replicas.services
    made = json.loads(here.fetch("POST", "/login-links"))["url"]
    path = made[made.index("/login?") :]
    status, headers = ask(there, "GET", path, token=None)
    assert status == 303
    assert "Set-Cookie" in headers
    assert ask(here, "GET", path, token=None)[0] == 401, "the code is spent everywhere"


def ask(
    service: Service, method: str, path: str, body: str = "", token: str | None = TOKEN
) -> tuple[int, Message]:
    """Ask and return the status and headers, whatever they are."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    try:
        headers = {"Content-Type": "application/json"} | (
            {"Authorization": f"Bearer {token}"} if token else {}
        )
        connection.request(method, path, body or None, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers
    finally:
        connection.close()


class listening:  # noqa: N801 - read as a verb: with listening(…) as heard
    """Follow an event stream: (monotonic s, data line) of each event."""

    def __init__(self, service: Service, path: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        self._connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
        self._answer = self._connection.getresponse()
        self.heard: list[tuple[float, str]] = []
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> list[tuple[float, str]]:
        self._thread.start()
        return self.heard

    def __exit__(self, *_: object) -> None:
        sock = self._connection.sock
        if sock is not None:
            sock.shutdown(2)
        self._thread.join(5)
        self._connection.close()

    def _read(self) -> None:
        for line in self._answer:
            if line.startswith(b"data: "):
                self.heard.append((time.monotonic(), line.decode()))
