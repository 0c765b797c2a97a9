"""A run of 100,000 epochs of one batch: its curves, and the list of runs with it among many."""

import statistics
import tempfile
from pathlib import Path
from typing import Final

from figures import Figure, quantile, report, size
from filling import fill_run, make_bodies
from large import Client

from processes import running_service

EPOCHS: Final = 100_000
OTHERS: Final = 99
RECORDS_OF_OTHERS: Final = 1_000
REQUESTS: Final = 20


def main() -> None:
    """Fill the run, ask for its curves on two axes, then for the list."""
    epochs = size(EPOCHS)
    with tempfile.TemporaryDirectory() as name, running_service(Path(name)) as service:
        seconds = fill_run(service, "long", make_bodies(epochs, writer="long", batches_an_epoch=1))
        report(
            [Figure(f"{epochs:,} epochs of one batch through HTTP, a second", epochs / seconds, "records/s")]
        )
        client = Client(service)
        for axis in ("epoch", "items"):
            address = f"/api/v1/curves?run=long&series=train/loss&x={axis}&points=1000"
            report(measure(client, f"/curves, {epochs:,} epochs of one batch, x={axis}", address))
        report(measure(client, f"one run of {epochs:,} epochs", "/api/v1/runs/long"))
        report(measure(client, f"list of that run, {epochs:,} epochs", "/api/v1/runs"))
        for number in range(OTHERS):
            bodies = make_bodies(RECORDS_OF_OTHERS, writer=f"w{number}", batches_an_epoch=20)
            fill_run(service, f"other-{number}", bodies)
        report(measure(client, f"list of {OTHERS + 1} runs, nothing new", "/api/v1/runs"))
        report(measure_changing(client))
        client.close()


def measure(client: Client, title: str, address: str) -> list[Figure]:
    """Ask again and again; the first answer stands alone, since later ones may profit from it."""
    times = [client.ask("GET", address)[0] for _ in range(1 + max(3, size(REQUESTS)))]
    return [
        Figure(f"{title}, first", times[0], "ms"),
        Figure(f"{title}, median", statistics.median(times[1:]), "ms"),
        Figure(f"{title}, p95", quantile(times[1:], 0.95), "ms"),
    ]


def measure_changing(client: Client) -> list[Figure]:
    """Ask for the list when every run in it has got a record since."""
    times = []
    for turn in range(max(3, size(REQUESTS))):
        for number in range(OTHERS):
            at = RECORDS_OF_OTHERS + turn
            (body,) = make_bodies(1, writer=f"w{number}", first=at, batches_an_epoch=20)
            client.ask("POST", f"/api/v1/runs/other-{number}/records", body)
        times.append(client.ask("GET", "/api/v1/runs")[0])
    return [
        Figure(f"list of {OTHERS + 1} runs, all with new records, median", statistics.median(times), "ms")
    ]


if __name__ == "__main__":
    main()
