"""Fills a service with records as our client sends them: columns over a kept-alive connection."""

import http.client
import json
import math
import time
from collections.abc import Iterable

from processes import Service

RECORDS_A_REQUEST = 5_000
BATCHES_AN_EPOCH = 10_000
BATCH_SIZE = 32
SPIKE = 1e6
START_UNIX_S = 1_700_000_000.0


def make_bodies(
    records: int,
    *,
    writer: str,
    first: int = 0,
    spike_at: int | None = None,
    batches_an_epoch: int = BATCHES_AN_EPOCH,
    records_a_request: int = RECORDS_A_REQUEST,
) -> list[bytes]:
    """Encode a run's records, from the `first` on, beforehand, so that only the service is measured."""
    meaning = {"reduction": "mean", "weight_unit": "items", "weight_source": "exact"}
    bodies = []
    for start in range(first, first + records, records_a_request):
        numbers = range(start, min(first + records, start + records_a_request))
        columns = {
            "epoch": [i // batches_an_epoch for i in numbers],
            "batch": [i % batches_an_epoch for i in numbers],
            "loss": [SPIKE if i == spike_at else loss_of(i) for i in numbers],
            "batch_size": [BATCH_SIZE] * len(numbers),
            "weight": [float(BATCH_SIZE)] * len(numbers),
            "time": [START_UNIX_S + i * 0.01 for i in numbers],
            "index": list(numbers),
        }
        body = {"writer": writer, "seq": start, "attempt": START_UNIX_S, "rank": 0}
        bodies.append(json.dumps(body | {"series": {"train/loss": meaning | columns}}).encode())
    return bodies


def loss_of(i: int) -> float:
    """Return a falling loss with some noise, the same at each call."""
    return 2.0 / (1 + i / 50_000) + 0.1 * math.sin(i * 12.9898) ** 2


def fill_run(service: Service, run: str, bodies: Iterable[bytes]) -> float:
    """Send a run's records; returns the seconds from each request to its acknowledgement, added up."""
    service.send("PUT", f"/api/v1/runs/{run}", {"project": "bench", "config": {"batch_size": BATCH_SIZE}})
    connection = http.client.HTTPConnection("127.0.0.1", service.port)
    headers = {"Authorization": f"Bearer {service.token}", "Content-Type": "application/json"}
    seconds = 0.0
    for body in bodies:
        begin = time.perf_counter()
        connection.request("POST", f"/api/v1/runs/{run}/records", body, headers)
        answer = connection.getresponse()
        said = answer.read()
        seconds += time.perf_counter() - begin
        if answer.status != 200:
            raise RuntimeError(f"{answer.status}: {said[:500]!r}")
    connection.close()
    return seconds
