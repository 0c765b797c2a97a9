"""Records into the store through HTTP, out again as curves: speed, size, memory, a spike that must stay."""

import http.client
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from figures import Figure, quantile, report, size
from filling import SPIKE, fill_run, make_bodies

from processes import Service, running_service

RECORDS = 1_000_000
RUNS = 20
RECORDS_A_RUN = 100_000
POINTS = 1_000
REQUESTS = 30
SMALL_DELIVERIES = 2_000
DISK_BUDGET_B = 90.0
CURVE_BUDGET_MS = 12.0
MANY_CURVES_BUDGET_MS = 60.0
ENOUGH_MS = 20_000  # of waiting for answers


def main() -> None:
    """Fill one large run, read its curve; fill 20 smaller ones, read them in one request."""
    with tempfile.TemporaryDirectory() as name, running_service(Path(name)) as service:
        records = size(RECORDS)
        before = disk_bytes(service)
        fill_run(service, "large", make_bodies(records, writer="large", spike_at=records * 5 // 9))
        report([Figure("disk for a record", (disk_bytes(service) - before) / records, "B", DISK_BUDGET_B)])
        report(memory(service, f"memory of the service with {records:,} records"))
        title = f"/curves, 1 run × {records:,}, {POINTS} points"
        report(measure_curves(service, title, ["large"], CURVE_BUDGET_MS))
        report([measure_short_epochs(service), measure_small(service)])
        many = [f"small-{i}" for i in range(RUNS)]
        for run in many:
            fill_run(service, run, make_bodies(size(RECORDS_A_RUN), writer=run))
        title = f"/curves, {RUNS} runs × {size(RECORDS_A_RUN):,}"
        report(measure_curves(service, title, many, MANY_CURVES_BUDGET_MS))


def measure_short_epochs(service: Service) -> Figure:
    """Fill a run whose epochs have 20 batches: its summaries are most of it."""
    before, records = disk_bytes(service), size(RECORDS_A_RUN) * 5
    bodies = make_bodies(records, writer="short", batches_an_epoch=20)
    fill_run(service, "short", bodies)
    return Figure(
        "disk for a record in epochs of 20 batches",
        (disk_bytes(service) - before) / records,
        "B",
        DISK_BUDGET_B,
    )


def measure_small(service: Service) -> Figure:
    """Send few records at a time, as a training that is followed live does."""
    deliveries = size(SMALL_DELIVERIES)
    bodies = make_bodies(deliveries * 10, writer="live", records_a_request=10)
    seconds = fill_run(service, "live", bodies)
    return Figure("10 records through HTTP, until they are acknowledged", seconds / deliveries * 1e3, "ms")


def measure_curves(service: Service, what: str, runs: list[str], budget: float | None = None) -> list[Figure]:
    """Ask for the curves of these runs over items, again and again over one connection."""
    query = "&".join([*(f"run={run}" for run in runs), "series=train/loss", "x=items", f"points={POINTS}"])
    connection = http.client.HTTPConnection("127.0.0.1", service.port)
    headers = {"Authorization": f"Bearer {service.token}"}
    times: list[float] = []
    answer = b""
    while len(times) < max(3, size(REQUESTS)) and sum(times) < ENOUGH_MS:
        begin = time.perf_counter()
        connection.request("GET", f"/api/v1/curves?{query}", headers=headers)
        response = connection.getresponse()
        answer = response.read()
        times.append((time.perf_counter() - begin) * 1e3)
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {answer[:500]!r}")
    connection.close()
    figures = [
        Figure(f"{what}, median", statistics.median(times), "ms", budget),
        Figure(f"{what}, p95", quantile(times, 0.95), "ms"),
        Figure(f"{what}, size of the answer", len(answer) / 1024, "KiB"),
    ]
    curve = json.loads(answer)["curves"][0]
    if len(runs) == 1:
        figures.append(Figure(f"{what}, spikes kept of 1", float(has_spike(curve)), ""))
    return figures


def has_spike(curve: dict[str, Any]) -> bool:
    """Tell whether the curve's band reaches the one outlier."""
    return max(value for value in curve["high"] if isinstance(value, float)) == SPIKE


def disk_bytes(service: Service) -> int:
    """Add up the database's files."""
    return sum(path.stat().st_size for path in service.folder.glob("lossboard.db*"))


def memory(service: Service, title: str, budget: float | None = None) -> list[Figure]:
    """Return the most memory the service has held and what it holds now, where the system tells."""
    if sys.platform != "linux":
        return []
    status = Path(f"/proc/{service.pid}/status").read_text(encoding="ascii")
    told = dict(line.split(":", 1) for line in status.splitlines())
    most, now = (int(told[name].split()[0]) / 1024 for name in ("VmHWM", "VmRSS"))
    return [Figure(f"{title}, at most", most, "MiB", budget), Figure(f"{title}, at the end", now, "MiB")]


if __name__ == "__main__":
    main()
