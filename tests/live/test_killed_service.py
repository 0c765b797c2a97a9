"""A service that is killed in mid-training costs the training nothing and the records nothing."""

import json
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from processes import Service, poll, start_script

pytestmark = pytest.mark.live

TRAINING = Path(__file__).with_name("training.py")
EPOCHS_A_KILL = 6  # some 3 s: the training outlives every kill and start
TRAINING_TIMEOUT_S = 240.0
SHORT = 1  # kills in `make test`; test_kills.py has more, of a plain loop
WHOLE = 25  # kills in `make soak`

Key = tuple[str, int, int, float, int]


@pytest.mark.parametrize("kills", [SHORT, pytest.param(WHOLE, marks=pytest.mark.soak)])
def test_every_record_is_there_once_after_the_service_was_killed_in_mid_training(
    service: Service, tmp_path: Path, kills: int
) -> None:
    own = tmp_path / "own.jsonl"
    arguments = [str(own), "--epochs", str(EPOCHS_A_KILL * kills), "--step-s", "0.003"]
    training = start_script(TRAINING, service.folder, *arguments, environment={"LOSSBOARD_RUN_ID": "killed"})
    try:
        for _ in range(kills):
            wait_for_records(service, more=150)
            service.kill()
            lines = count_lines(own)
            poll(lambda before=lines: count_lines(own) > before + 100, "training without a service")
            assert training.poll() is None, "the training must still run"
            service.start()
        output, _ = training.communicate(timeout=TRAINING_TIMEOUT_S)
    finally:
        training.kill()
    assert training.returncode == 0, output
    expected = read_own(own)
    poll(lambda: is_finished(service), "the end of the run")
    run = service.get("/api/v1/runs/killed")
    assert run["counts"]["records"] == expected.total()
    assert run["counts"]["gaps"] == 0
    assert run["counts"]["dropped"] == {} or not any(run["counts"]["dropped"].values())
    service.stop()
    assert read_database(service.folder / "lossboard.db") == expected


def wait_for_records(service: Service, more: int) -> None:
    """Wait until the service holds some more records of the run."""
    known = count_records(service)
    poll(lambda: count_records(service) >= known + more, f"{more} more records")


def count_records(service: Service) -> int:
    """Count the run's records, 0 where it is not known yet."""
    runs = service.get("/api/v1/runs")["runs"]
    return sum(found["records"] for found in runs if found["run"] == "killed")


def is_finished(service: Service) -> bool:
    """Tell whether the service knows that the training ended well."""
    return bool(service.get("/api/v1/runs/killed")["state"] == "finished")


def count_lines(own: Path) -> int:
    """Count what the training has written into its own list."""
    return own.read_bytes().count(b"\n") if own.exists() else 0


def read_own(own: Path) -> Counter[Key]:
    """Read the training's own list."""
    records = map(json.loads, own.read_text(encoding="utf-8").splitlines())
    keys = ("epoch", "batch", "loss", "batch_size")
    return Counter((f"{record['split']}/loss", *(record[key] for key in keys)) for record in records)


def read_database(path: Path) -> Counter[Key]:
    """Read the records as any SQLite tool would, from the plain rows."""
    query = """SELECT s.name, r.epoch, r.batch, r.loss, r.batch_size
        FROM records r JOIN series s ON s.run = r.run AND s.key = r.series"""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return Counter(connection.execute(query).fetchall())
    finally:
        connection.close()
