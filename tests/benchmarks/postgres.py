"""PostgreSQL beside SQLite through the same HTTP: large requests, small ones of many runs, bytes, curves."""

import http.client
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from figures import Figure, note, quantile, report, size
from filling import fill_run, make_bodies
from store import POINTS, measure_curves

from postgres_server import PostgresServer, running_postgres, why_not
from processes import Service, running_service
from replicas import running_replicas

RECORDS = 1_000_000
RUNS = 20  # at once, each with a request under way
SMALL_REQUESTS = 4_000
RECORDS_A_SMALL_REQUEST = 50  # 100 records/s, sent every half second


def main() -> None:
    """Measure one service on either database, then two replicas on one."""
    if missing := why_not():
        note(f"PostgreSQL was not measured: {missing}.")
        return
    with tempfile.TemporaryDirectory() as name, running_service(Path(name)) as service:
        measure([service], "SQLite")
    with running_postgres(is_durable=True) as server:
        for replicas in (1, 2):
            with on_postgres(server, replicas) as services:
                measure(services, "PostgreSQL" if replicas == 1 else "PostgreSQL, 2 replicas", server)


def measure(services: list[Service], whose: str, server: PostgresServer | None = None) -> None:
    """Fill one run, then many at once, and say what it took of whom."""
    records = size(RECORDS)
    if len(services) == 1:
        bodies = make_bodies(records, writer="large")
        before = disk_bytes(services[0], server)
        seconds = fill_run(services[0], "large", bodies)
        used = disk_bytes(services[0], server) - before
        report(
            [
                Figure(
                    f"{records:,} records into the store, a second",
                    records / seconds,
                    "records/s",
                    whose=whose,
                ),
                Figure("disk for a record", used / records, "B", whose=whose),
            ]
        )
        curves = measure_curves(services[0], f"/curves, 1 run × {records:,}, {POINTS} points", ["large"])
        report([curves[0]._replace(whose=whose)])
    times, seconds = send_small(services)
    report(
        [
            Figure(
                f"requests of {RECORDS_A_SMALL_REQUEST} records, a second",
                len(times) / seconds,
                "/s",
                whose=whose,
            ),
            Figure(
                f"requests of {RECORDS_A_SMALL_REQUEST} records, p95",
                quantile(times, 0.95) * 1e3,
                "ms",
                whose=whose,
            ),
        ]
    )


def send_small(services: list[Service]) -> tuple[list[float], float]:
    """Send small requests of several runs at once; return what each took and all together, in seconds."""
    each = max(1, size(SMALL_REQUESTS) // RUNS)
    times: list[float] = []

    def send(number: int) -> None:
        service = services[number % len(services)]
        connection = http.client.HTTPConnection("127.0.0.1", service.port)
        headers = {"Authorization": f"Bearer {service.token}"}
        for body in bodies[number]:
            began = time.perf_counter()
            connection.request("POST", f"/api/v1/runs/small-{number}/records", body, headers)
            answer = connection.getresponse()
            said = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{answer.status}: {said[:500]!r}")
            times.append(time.perf_counter() - began)
        connection.close()

    bodies = [make_small_bodies(number, each) for number in range(RUNS)]
    for number in range(RUNS):
        services[0].send("PUT", f"/api/v1/runs/small-{number}", {})
    threads = [threading.Thread(target=send, args=(number,)) for number in range(RUNS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times, time.perf_counter() - began


def make_small_bodies(run: int, count: int) -> list[bytes]:
    """Encode a run's small requests beforehand."""
    bodies = []
    for first in range(0, count * RECORDS_A_SMALL_REQUEST, RECORDS_A_SMALL_REQUEST):
        batches = list(range(first, first + RECORDS_A_SMALL_REQUEST))
        columns = {
            "epoch": [0] * len(batches),
            "batch": batches,
            "loss": [2.0 + run + batch * 1e-6 for batch in batches],
            "batch_size": [32] * len(batches),
            "time": [1.7e9 + batch * 0.01 for batch in batches],
            "index": batches,
        }
        body = {"writer": f"w{run}", "seq": first, "attempt": 1.7e9, "rank": 0, "state": "running"}
        bodies.append(json.dumps(body | {"series": {"train/loss": columns}}).encode())
    return bodies


def disk_bytes(service: Service, server: PostgresServer | None) -> int:
    """Add up the database's files."""
    if server is None:
        return sum(path.stat().st_size for path in service.folder.glob("lossboard.db*"))
    with server.connect("replicas") as connection:
        found = connection.execute("SELECT pg_database_size('replicas')").fetchone()
    assert found is not None
    return int(found[0])


@contextmanager
def on_postgres(server: PostgresServer, replicas: int) -> Iterator[list[Service]]:
    """Replicas on an empty database."""
    with tempfile.TemporaryDirectory() as name, running_replicas(server, Path(name), replicas) as running:
        yield running.services


if __name__ == "__main__":
    main()
