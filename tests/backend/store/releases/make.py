"""Makes a database of a release as SQL text, and the answers that it gave: run it by that release's code.

    git archive REVISION backend client | tar x -C FOLDER
    PYTHONPATH=FOLDER/backend:FOLDER/client python tests/backend/store/releases/make.py 0.1.0

The files of a release are never made anew: they are what its users have on their disks.
"""

import json
import math
import random
import re
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from lossboard_server.app import create_app
from lossboard_server.settings import Settings

HERE = Path(__file__).parent
BASE_URL = "http://127.0.0.1:8765"
START_UNIX_S = 1_790_000_000.0


class Clock:
    """A service's clock that goes on by a second a request."""

    def __init__(self) -> None:
        self.now = START_UNIX_S

    def __call__(self) -> float:
        """Return unix seconds."""
        return self.now


class Training:
    """One writer of one run: it sends columns and counts its records, as the client does."""

    def __init__(self, service: TestClient, clock: Clock, run: str, writer: str, **place: Any) -> None:
        self.service, self.clock, self.run, self.writer = service, clock, run, writer
        self.place = {"attempt": START_UNIX_S, "rank": 0} | place
        self.next = 0

    def put(self, **told: Any) -> None:
        """Make the run, or take it up."""
        attempt = {"started_unix_s": self.place["attempt"], "rank": self.place["rank"]} | told.pop(
            "attempt", {}
        )
        answer = self.service.put(f"/api/v1/runs/{self.run}", json={"attempt": attempt, **told})
        assert answer.status_code in (200, 201), answer.text

    def send(self, name: str, meaning: dict[str, str], skip: int = 0, **columns: list[Any]) -> None:
        """Send one series' columns; `skip` numbers were given and never sent."""
        size = len(columns["loss"])
        self.next += skip
        index = list(range(self.next, self.next + size))
        self.clock.now += 1
        times = [self.clock.now - 1 + row / size for row in range(size)]
        group = {"time": times, "index": index, **meaning, **columns}
        body = {"writer": self.writer, "seq": self.next, **self.place, "series": {name: group}}
        answer = self.service.post(f"/api/v1/runs/{self.run}/records", json=body)
        assert answer.json().get("stored") == size, answer.text
        self.next += size

    def end(self, state: str, **more: Any) -> None:
        """Say how it ended."""
        body = {"writer": self.writer, "seq": self.next, **self.place, "state": state, "series": {}, **more}
        assert self.service.post(f"/api/v1/runs/{self.run}/records", json=body).status_code == 200


def mean(unit: str = "items", source: str = "exact") -> dict[str, str]:
    """Return the meaning of a mean."""
    return {"reduction": "mean", "weight_unit": unit, "weight_source": source}


def fill(service: TestClient, clock: Clock) -> None:
    """Put into a service what users have: each kind of record that the release knows."""
    chance = random.Random(5)
    _fill_long(Training(service, clock, "long", "w-long"), chance)
    _fill_wide(Training(service, clock, "wide", "w-wide"), chance)
    _fill_resumed(service, clock, chance)
    _fill_ranks(service, clock, chance)
    _fill_kinds(Training(service, clock, "kinds", "w-kinds"), chance)
    _fill_by_hand(service)


def _fill_long(run: Training, chance: random.Random) -> None:
    run.put(name="Seventy epochs", project="digits", config={"lr": 0.1, "n": [1, None]}, tags=["a", "b"])
    for epoch in range(70):
        losses = [4 / (epoch + 1) + chance.random() / 8 for _ in range(3)]
        place = {"epoch": [epoch] * 3, "batch": [0, 1, 2], "step": [3 * epoch + row for row in range(3)]}
        run.send("train/loss", mean(), loss=losses, batch_size=[32, 32, 7], **place)
        if epoch % 10 == 9:
            for pass_no in (0, 1):
                where = {"epoch": [epoch] * 2, "batch": [0, 1], "pass_no": [pass_no] * 2}
                run.send("val/loss", mean(), loss=[chance.random(), 1.5], batch_size=[64, 20], **where)
    run.end("finished", dropped={"journal-full": 3})


def _fill_wide(run: Training, chance: random.Random) -> None:
    run.put(environment={"python": "3.11", "frameworks": {"torch": "2.13.0"}})
    for epoch, batches in enumerate((300, 40)):
        losses: list[Any] = [math.exp(-row / 99) + chance.random() / 9 for row in range(batches)]
        losses[5], losses[17], losses[30] = "NaN", "Infinity", "-Infinity"
        losses[23] = 1e6
        weights = [float(chance.randrange(1, 900)) for _ in range(batches)]
        weights[11] = 0.0
        columns = {"epoch": [epoch] * batches, "batch": list(range(batches)), "weight": weights}
        run.send("train/loss", mean("tokens"), loss=losses, batch_size=[8] * batches, **columns)
    run.end("failed")


def _fill_resumed(service: TestClient, clock: Clock, chance: random.Random) -> None:
    for number, (start, epochs) in enumerate(((0, 4), (2, 5), (None, 2))):
        place = {"attempt": START_UNIX_S + 100.5 * number}
        run = Training(service, clock, "resumed", f"w-resumed-{number}", **place)
        run.put(attempt={"start_epoch": start, "start_batch": 7 if number == 1 else 0, "resumed": number > 0})
        for epoch in range(start or 0, epochs):
            first = 7 if (number, epoch) == (1, 2) else 0
            batches = list(range(first, 20))
            losses = [number + chance.random() for _ in batches]
            run.send(
                "train/loss",
                mean(),
                skip=4 if epoch == 3 else 0,
                loss=losses,
                batch_size=[16] * len(batches),
                epoch=[epoch] * len(batches),
                batch=batches,
            )
        run.end("killed" if number == 0 else "finished")


def _fill_ranks(service: TestClient, clock: Clock, chance: random.Random) -> None:
    for rank in (0, 1):
        run = Training(service, clock, "ranks", f"w-rank-{rank}", rank=rank)
        run.put(attempt={"world_size": 2, "start_epoch": 0})
        for epoch in range(3):
            losses = [chance.random() for _ in range(18)]
            columns = {"epoch": [epoch] * 18, "batch": list(range(18)), "step": list(range(18))}
            run.send("train/loss", mean(), loss=losses, batch_size=[8 - rank] * 18, **columns)
        run.end("finished")


def _fill_kinds(run: Training, chance: random.Random) -> None:
    run.put(series={"train/summed": {"reduction": "sum", "weight_unit": "elements", "traits": {}}})
    place = {"epoch": [0, 0, 1, 1], "batch": [0, 1, 0, 1], "batch_size": [4, 3, 4, 3]}
    losses = [chance.random() + 1 for _ in range(4)]
    weight = [40.0, 30.0, 40.0, 30.0]
    run.send("train/summed", {**mean("elements"), "reduction": "sum"}, loss=losses, weight=weight, **place)
    window = {**mean(), "reduction": "sum_over_window"}
    run.send("train/windowed", window, loss=losses, window_items=[7.0] * 4, **place)
    run.send("train/unknown", {**mean(source="unknown"), "reduction": "unknown"}, loss=losses, **place)
    run.send("train/divided", mean(source="probed"), loss=losses, divisor=[2.0, 2.0, 1.0, 1.0], **place)
    run.end("running")


def _fill_by_hand(service: TestClient) -> None:
    path = "/api/v1/runs/by-hand"
    service.put(path, json={})
    rows: list[dict[str, Any]] = [
        {"epoch": epoch, "batch": batch, "loss": batch + 1.25, "batch_size": 2, "time": START_UNIX_S + batch}
        for epoch in (None, 0, 1)
        for batch in (0, 1, 1, 2)
    ]
    rows.append({"epoch": 1, "batch": 3, "loss": 9.0, "batch_size": 2, "reduction": "sum", "time": 1e9})
    rows.append({"epoch": 0, "batch": 0, "loss": 2.0, "batch_size": None, "series": "metric", "time": 1e9})
    assert service.post(f"{path}/records", json={"records": rows}).status_code == 200


def read_answers(service: TestClient) -> dict[str, Any]:
    """Ask for each run's epochs, hidden ones too, and for its curves over epochs and over batches."""
    answers: dict[str, Any] = {}
    for run, series in _read_series(service):
        for x in ("epoch", "batch"):
            path = f"/api/v1/curves?run={run}&series={series}&x={x}&points=2000"
            answers[path] = service.get(path).json()["curves"]
        path = f"/api/v1/runs/{run}/epochs?series={series}"
        answers[path] = service.get(path).json()
    return answers


def _read_series(service: TestClient) -> Iterator[tuple[str, str]]:
    for run in sorted(found["run"] for found in service.get("/api/v1/runs").json()["runs"]):
        about = service.get(f"/api/v1/runs/{run}").json()
        for series in sorted(entry["series"] for entry in about["series"]):
            yield run, series


def main(release: str) -> None:
    """Write RELEASE.sql and RELEASE.json beside this file."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.resolve({"dir": folder, "no_token": "true"}, {})
        app: FastAPI = create_app(settings, clock)
        with TestClient(app, base_url=BASE_URL) as service:
            fill(service, clock)
            answers = read_answers(service)
        with closing(sqlite3.connect(Path(folder) / "lossboard.db")) as connection:
            # SQLite writes ±Infinity as a word that it does not read.
            lines = [
                re.sub(r"(?<=[,(])(-?)Inf(?=[,)])", r"\g<1>9e999", line) for line in connection.iterdump()
            ]
    (HERE / f"{release}.sql").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = json.dumps(answers, sort_keys=True, separators=(",", ":"))
    (HERE / f"{release}.json").write_text(text.replace('},{"', '},\n{"') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
