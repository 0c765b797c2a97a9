"""How far ranks have come: found by index, and the same as by reading all epochs."""

import random
from pathlib import Path

import pytest
from sqlalchemy import text

from lossboard.wire import Record
from lossboard_server.domain.blocks import as_blocks
from lossboard_server.store.reading.progress import read_progress
from lossboard_server.store.store import Store
from lossboard_server.store.writing.deliveries import Delivery, RunSpec
from lossboard_server.store.writing.register import find_run

NAIVE = """
    SELECT e.rank, max(e.epoch) FROM epochs e JOIN series s ON s.run = e.run AND s.key = e.series
    WHERE s.name LIKE 'train/%' GROUP BY e.rank
"""


def send(store: Store, records: list[Record]) -> None:
    store.put_records("r", Delivery(as_blocks(records))).result(20)


@pytest.mark.parametrize("seed", range(4))
def test_newest_epoch_of_each_rank_is_found_whatever_ranks_and_series_there_are(
    store: Store, seed: int
) -> None:
    rng = random.Random(seed)
    ranks = rng.sample(range(12), rng.randint(1, 5))
    reached = {rank: rng.randint(-1, 40) for rank in ranks}
    names = ["train/loss", "train/box", "val/loss"]
    records = [
        Record(rng.choice(names), epoch, 0, 1.0, 2, rank=rank, time=1e9 + epoch, attempt=1.0)
        for rank, last in reached.items()
        for epoch in ([-1] if last < 0 else range(last + 1))
    ]
    send(store, records)
    with store.reading() as connection:
        naive = dict(map(tuple, connection.execute(text(NAIVE))))
        assert read_progress(connection, find_run(connection, "r")).newest == naive


def test_no_epoch_is_read_that_is_not_the_newest_of_a_rank(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'lossboard.db'}")
    store.put_run("r", RunSpec()).result(5)
    send(store, [Record("train/loss", 0, 0, 1.0, 2, rank=rank, attempt=1.0) for rank in (0, 1)])
    with store.reading() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        said: list[str] = []
        driver.set_trace_callback(said.append)
        read_progress(connection, find_run(connection, "r"))
        driver.set_trace_callback(None)
        (statement,) = (each for each in said if "RECURSIVE" in each)
        plan = [row[-1] for row in driver.execute(f"EXPLAIN QUERY PLAN {statement}")]
    epochs = {step for step in plan if step.startswith(("SEARCH e ", "SCAN e"))}
    # Rank 0 from its newest epoch back, the others and their newest epochs by the index of theirs.
    assert sum("USING PRIMARY KEY" in step for step in epochs) == 1
    assert sum("USING COVERING INDEX ix_epochs_rank" in step for step in epochs) == len(epochs) - 1 >= 2
    store.close()
