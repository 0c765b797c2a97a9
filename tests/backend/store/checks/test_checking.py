"""Summaries against their rows: however records arrive, they agree; what was damaged is told, and mended."""

import math
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lossboard.wire import Record
from lossboard_server.domain.blocks import as_blocks
from lossboard_server.store.checks.checking import check_run, list_runs, rebuild_run
from lossboard_server.store.store import Store
from lossboard_server.store.writing.deliveries import Delivery, RunSpec, Sender


def find(store: Store) -> list[str]:
    with store.reading() as connection:
        return [
            finding.what
            for run in list_runs(connection)
            for finding in check_run(connection, run.key, lambda _: None)
        ]


def change(store: Store, *statements: str) -> None:
    def work(connection: Any) -> tuple[None, list[Any]]:
        for statement in statements:
            connection.exec_driver_sql(statement)
        return None, []

    store.write(work).result(5)


def rebuild(store: Store) -> None:
    store.write(lambda connection: (rebuild_run(connection, 1, lambda _: None), [])).result(5)


def everything(store: Store) -> dict[str, list[Any]]:
    with store.reading() as connection:
        return {
            table: sorted(map(tuple, connection.exec_driver_sql(f"SELECT * FROM {table}").all()), key=repr)
            for table in ("epochs", "buckets", "epoch_buckets")
        }


def send(store: Store, records: list[Record]) -> None:
    store.put_records("r", Delivery(as_blocks(records))).result(5)


def some_run(store: Store) -> None:
    send(store, [record(epoch, batch) for epoch in range(70) for batch in range(3)])
    send(store, [record(100, batch) for batch in range(300)])
    send(store, [record(epoch, batch, series="val/loss") for epoch in range(70) for batch in range(3)])


def record(epoch: int, batch: int, **more: Any) -> Record:
    base = Record("train/loss", epoch, batch, 1 / (1 + epoch + batch), 2, time=1e9 + 1000 * epoch + batch)
    return base._replace(**more)


LOSSES = st.one_of(
    st.floats(-1e6, 1e6),
    st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, 5e-324]),
)


@dataclass
class Training:
    """How a training runs, small enough to be read where it fails."""

    seed: int
    losses: list[float]
    attempts: int
    ranks: int
    span: int
    """Of its first epochs, which have gaps."""
    more: int
    """Epochs without a gap after those."""

    def write(self, rng: random.Random) -> Iterator[list[Record]]:
        """Yield what each writer holds: records in order, of one attempt and rank."""
        for attempt in range(self.attempts):
            for rank in range(self.ranks):
                epochs = sorted(rng.sample(range(self.span), rng.randint(1, 5)))
                epochs += range(epochs[-1] + 1, epochs[-1] + 1 + self.more)
                undeclared = [None] if rng.random() < 0.2 else []
                yield [
                    self._record(rng, series, epoch, batch, pass_no)._replace(
                        rank=rank, attempt=float(attempt)
                    )
                    for epoch in [*undeclared, *epochs]
                    for series in ("train/loss", "val/loss")
                    for pass_no in range(rng.choice([1, 1, 3]) if series == "val/loss" else 1)
                    for batch in range(rng.choice([1, 2, 17] if self.more else [1, 3, 20, 70]))
                ]

    def _record(self, rng: random.Random, series: str, epoch: int | None, batch: int, pass_no: int) -> Record:
        return Record(
            *(series, epoch, batch * rng.choice([1, 1, 1, 3])),  # some of them twice, and with gaps
            *(rng.choice(self.losses), rng.choice([4, 4, 4, 3, 1])),
            weight=rng.choice([None, None, 0.0, 0.7]),
            reduction=rng.choice([None] * 20 + ["sum"]),
            step=rng.choice([None, batch]),
            time=1e9 + rng.random(),
            pass_no=pass_no,
        )


TRAININGS = st.builds(
    Training,
    seed=st.integers(0, 2**32),
    losses=st.lists(LOSSES, min_size=1, max_size=8),
    attempts=st.integers(1, 2),
    ranks=st.integers(1, 3),
    span=st.sampled_from([5, 40, 300]),
    more=st.sampled_from([0, 20, 70]),
)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(training=TRAININGS)
def test_summaries_equal_those_made_anew_however_records_come(training: Training) -> None:
    """Of several writers, in any order, in parts of any size, sent twice or late, or by nobody at all."""
    rng = random.Random(training.seed)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{Path(folder) / 's.db'}")
        store.put_run("r", RunSpec()).result(5)
        try:
            for part, delivery in deliver(rng, list(training.write(rng))):
                for _ in range(rng.choice([1, 1, 2])):
                    store.put_records("r", delivery).result(5)
                if rng.random() < 0.05:
                    send(store, rng.sample(part, len(part)))  # typed by hand: kept again
            assert find(store) == []
            before = everything(store)
            rebuild(store)
            assert find(store) == []
            after = everything(store)
            assert {table: len(rows) for table, rows in after.items()} == {
                table: len(rows) for table, rows in before.items()
            }
        finally:
            store.close()


def deliver(rng: random.Random, writers: list[list[Record]]) -> Iterator[tuple[list[Record], Delivery]]:
    """Yield what each request holds: every writer's in its order, theirs among each other in any."""
    sent = [0] * len(writers)
    while waiting := [number for number, records in enumerate(writers) if sent[number] < len(records)]:
        number = rng.choice(waiting)
        first = sent[number]
        part = writers[number][first : first + rng.choice([1, 7, 60, 2000])]
        sent[number] += len(part)
        sender = Sender(f"w{number}", first, part[0].attempt, part[0].rank)
        yield part, Delivery(as_blocks(part, range(first, sent[number])), sender)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("UPDATE epochs SET m = m * 1.0000001 WHERE epoch = 3", "2 of 141 epochs differ from their records"),
        (
            "UPDATE epochs SET reduction = 1 WHERE epoch = 3 AND series = 0",
            "1 of 141 epochs differ from their records",
        ),
        (
            "UPDATE buckets SET high = 9 WHERE width = 64 AND number = 1",
            "1 of 26 buckets differ from their records",
        ),
        ("UPDATE epoch_buckets SET points = points + 1", "11 of 11 epoch_buckets differ from their records"),
        ("DELETE FROM epochs WHERE epoch BETWEEN 5 AND 9", "10 of 141 epochs are missing"),
        ("DELETE FROM buckets", "26 of 26 buckets are missing"),
        ("DELETE FROM epoch_buckets WHERE width = 64", "2 of 11 epoch_buckets are missing"),
        ("UPDATE epoch_buckets SET number = 77 WHERE number = 1", "2 epoch_buckets are of no records"),
        ("UPDATE epochs SET epoch = 999 WHERE epoch = 69", "2 epochs are of no records"),
        (
            "DELETE FROM records WHERE epoch = 100 AND batch = 299",
            "1 of 141 epochs differ from their records",
        ),
        ("UPDATE runs SET records = 7", "counts 7 records, and has 720"),
    ],
)
def test_damage_is_told_and_mended(store: Store, damage: str, told: str) -> None:
    some_run(store)
    assert find(store) == []
    whole = everything(store)
    change(store, damage)
    assert f"r: {told}" in "\n".join(find(store))
    rebuild(store)
    assert find(store) == []
    if "records" not in damage.split("WHERE")[0]:
        assert everything(store) == whole


def test_rebuild_tells_viewers_that_curves_are_drawn_anew(store: Store) -> None:
    some_run(store)
    rebuild(store)
    with store.reading() as connection:
        version, redrawn = connection.exec_driver_sql("SELECT version, redrawn FROM runs").one()
    assert version == redrawn == 5


def test_acknowledged_records_that_are_gone_are_told(store: Store) -> None:
    records = [record(0, batch) for batch in range(10)]
    store.put_records("r", Delivery(as_blocks(records, range(10)), Sender("w", 0, 0.0, 0))).result(5)
    assert find(store) == []
    change(store, "DELETE FROM records WHERE batch > 7")
    assert "r: 10 records were acknowledged, and 8 are there" in find(store)


def test_later_call_of_a_batch_is_the_last_one_whatever_its_reduction(store: Store) -> None:
    send(store, [record(0, 0), record(0, 6, reduction="sum", batch_size=3)])
    send(store, [record(0, 6, batch_size=4)])
    with store.reading() as connection:
        assert connection.exec_driver_sql("SELECT last_batch, last_batch_size FROM epochs").one() == (6, 4)
    assert find(store) == []
