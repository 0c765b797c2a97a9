"""From `log` to readable over HTTP: one by one, and records a second flat out."""

import http.client
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

from figures import Figure, quantile, report, size

import lossboard
from processes import Service, running_service

SINGLE_RECORDS = 60
SINGLE_INTERVAL_S = 0.5
# Each pause is up to a look of the sender shorter or longer. Pauses of 0.5 s end as its tenth look begins:
# they kept in step with it, and we measured a wait that was not there.
JITTER_S = 0.05
MEDIAN_BUDGET_MS = 60.0
P95_BUDGET_MS = 120.0
MANY_RECORDS = 1_000_000
LOOK_INTERVAL_S = 0.001


def main() -> None:
    """Measure both with one service."""
    with tempfile.TemporaryDirectory() as name, running_service(Path(name)) as service:
        report(measure_delay(service))
        report(measure_rate(service))


def measure_delay(service: Service) -> list[Figure]:
    """Log a record every 0.5 s and look until it can be read."""
    run = lossboard.init(project="bench", url=service.url, token=service.token, dir=str(service.folder))
    reader = Reader(service, run.id)
    delays = []
    chance = random.Random(1)
    for i in range(size(SINGLE_RECORDS) + 1):
        time.sleep(SINGLE_INTERVAL_S + chance.uniform(-JITTER_S, JITTER_S))
        begin = time.perf_counter()
        run.log(0, i, 0.25, 32)
        reader.wait_for(i + 1)
        delays.append((time.perf_counter() - begin) * 1e3)
    run.finish()
    del delays[0]  # the run itself is made with it
    return [
        Figure("log to readable, median", statistics.median(delays), "ms", MEDIAN_BUDGET_MS),
        Figure("log to readable, p95", quantile(delays, 0.95), "ms", P95_BUDGET_MS),
    ]


def measure_rate(service: Service) -> list[Figure]:
    """Log many records flat out and wait until the last one can be read."""
    run = lossboard.init(project="bench", url=service.url, token=service.token, dir=str(service.folder))
    records = size(MANY_RECORDS)
    begin = time.perf_counter()
    for i in range(records):
        run.log(i // 10_000, i % 10_000, 0.25, 32)
    logged = time.perf_counter() - begin
    Reader(service, run.id).wait_for(records, interval_s=0.02)
    readable = time.perf_counter() - begin
    run.finish()
    return [
        Figure(f"{records:,} calls of log", logged, "s"),
        Figure("records a second from log to readable", records / readable, "1/s"),
    ]


class Reader:
    """Reads one run's count of records over a kept-alive connection."""

    def __init__(self, service: Service, run: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", service.port)
        self._path = f"/api/v1/runs/{run}"
        self._headers = {"Authorization": f"Bearer {service.token}"}

    def wait_for(self, records: int, interval_s: float = LOOK_INTERVAL_S, timeout_s: float = 300.0) -> None:
        """Look until the run holds that many records. Raises: TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self.count() >= records:
                return
            time.sleep(interval_s)
        raise TimeoutError(f"{records} records did not come; there are {self.count()}")

    def count(self) -> int:
        """Return how many records the service has of the run."""
        self._connection.request("GET", self._path, headers=self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        return int(json.loads(body)["records"]) if answer.status == 200 else 0


if __name__ == "__main__":
    main()
