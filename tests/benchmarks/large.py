"""A run of 10,000,000 records: memory while they come in, its curve, and what a follower pays."""

import http.client
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from figures import Figure, note, quantile, report, size
from filling import BATCH_SIZE, RECORDS_A_REQUEST, fill_run, make_bodies
from store import disk_bytes, has_spike, memory

from processes import Service, running_service

RECORDS: Final = 10_000_000
SMALLER: Final = 1_000_000
POINTS: Final = 1_000
REQUESTS: Final = 60
UPDATES: Final = 200
RECORDS_AN_UPDATE: Final = 100
CURVE_BUDGET_MS: Final = 12.0
RATIO_BUDGET: Final = 1.5
UPDATE_BUDGET_MS: Final = 5.0
MEMORY_BUDGET_MIB: Final = 200.0


def main() -> None:
    """Fill a run and one ten times as long, then ask for both in turns, and follow the longer."""
    records, smaller = size(RECORDS), size(SMALLER)
    with tempfile.TemporaryDirectory() as name, running_service(Path(name)) as service:
        fill_run(service, "smaller", make_bodies(smaller, writer="smaller", spike_at=smaller * 5 // 9))
        before = disk_bytes(service)
        seconds = fill_run(service, "large", make_pieces(records))
        report([Figure(f"{records:,} records through HTTP, a second", records / seconds, "records/s")])
        report([Figure(f"disk for a record of {records:,}", (disk_bytes(service) - before) / records, "B")])
        title = f"memory of the service while {records:,} records come in"
        report(memory(service, title, MEMORY_BUDGET_MIB))
        client = Client(service)
        report(compare_curves(client, smaller, records))
        for axis in ("items", "epoch"):
            report(measure_updates(client, axis, records))
        client.close()


def make_pieces(records: int) -> Iterator[bytes]:
    """Encode the long run piece by piece: all of it would be 1 GB."""
    return (
        body
        for first in range(0, records, RECORDS_A_REQUEST)
        for body in make_bodies(
            min(RECORDS_A_REQUEST, records - first), writer="large", first=first, spike_at=records * 5 // 9
        )
    )


class Client:
    """One kept-alive connection that times its requests."""

    def __init__(self, service: Service) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", service.port)
        self._headers = {"Authorization": f"Bearer {service.token}", "Content-Type": "application/json"}

    def ask(
        self, method: str, path: str, body: bytes | None = None, **more: str
    ) -> tuple[float, int, Any, str]:
        """Return the ms until the answer was read, its status, what it holds, and its ETag."""
        begin = time.perf_counter()
        self._connection.request(method, path, body, self._headers | more)
        answer = self._connection.getresponse()
        said = answer.read()
        ms = (time.perf_counter() - begin) * 1e3
        if answer.status not in (200, 304):
            raise RuntimeError(f"{answer.status}: {said[:500]!r}")
        return ms, answer.status, json.loads(said) if said else None, answer.getheader("ETag", "")

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()


def compare_curves(client: Client, smaller: int, records: int) -> list[Figure]:
    """Ask for both runs' curves in turns, so that both see the same minutes of the machine."""
    times: dict[str, list[float]] = {"smaller": [], "large": []}
    unchanged: list[float] = []
    spikes = {}
    for _ in range(max(3, size(REQUESTS))):
        for run, taken in times.items():
            ms, _, answer, etag = client.ask("GET", question(run, "items"))
            taken.append(ms)
            spikes[run] = has_spike(answer["curves"][0])
            ms, status, _, _ = client.ask("GET", question(run, "items"), **{"If-None-Match": etag})
            if status == 304:
                unchanged.append(ms)
    medians = {run: statistics.median(taken) for run, taken in times.items()}
    figures = []
    for run, count in (("smaller", smaller), ("large", records)):
        title = f"/curves, {count:,} records, {POINTS:,} points"
        budget = CURVE_BUDGET_MS if run == "smaller" else None
        figures += [
            Figure(f"{title}, median", medians[run], "ms", budget),
            Figure(f"{title}, p95", quantile(times[run], 0.95), "ms"),
            Figure(f"{title}, spikes kept of 1", float(spikes[run]), "", 1, is_least=True),
        ]
    title = f"/curves, {records:,} records beside {smaller:,}"
    figures.append(Figure(title, medians["large"] / medians["smaller"], "×", RATIO_BUDGET))
    if unchanged:
        figures.append(Figure("/curves, unchanged: 304, median", statistics.median(unchanged), "ms"))
    return figures


def measure_updates(client: Client, axis: str, records: int) -> list[Figure]:
    """Send 100 records and ask for what is new, again and again."""
    _, _, answer, _ = client.ask("GET", question("large", axis))
    at: int = client.ask("GET", "/api/v1/runs/large")[2]["records"]
    times, resets, told = [], 0, 0
    for _ in range(max(3, size(UPDATES))):
        (body,) = make_bodies(RECORDS_AN_UPDATE, writer="large", first=at)
        at += RECORDS_AN_UPDATE
        client.ask("POST", "/api/v1/runs/large/records", body)
        ms, _, answer, _ = client.ask("GET", f"{question('large', axis)}&since={answer['cursor']}")
        times.append(ms)
        resets += answer["reset"]
        told += sum(len(curve["x"]) for curve in answer["curves"])
        if axis == "items" and answer["curves"][0]["x"][-1] != at * BATCH_SIZE:
            raise RuntimeError(
                f"the answer ends at {answer['curves'][0]['x'][-1]} items, not {at * BATCH_SIZE}"
            )
    title = f"a follower's update of {RECORDS_AN_UPDATE} new records of {records:,}, x={axis}"
    note(f"{title}: {told / len(times):.0f} points an answer.")
    return [
        Figure(f"{title}, median", statistics.median(times), "ms", UPDATE_BUDGET_MS),
        Figure(f"{title}, p95", quantile(times, 0.95), "ms"),
        Figure(f"{title}, told everything anew", 100 * resets / len(times), "%"),
    ]


def question(run: str, axis: str) -> str:
    """Return the address of a run's curve over an axis."""
    return f"/api/v1/curves?run={run}&series=train/loss&x={axis}&points={POINTS}"


if __name__ == "__main__":
    main()
