"""Buckets: a curve drawn from them is the curve drawn from the rows, however the records came in."""

import math
import random
from typing import Any

import pytest
from sqlalchemy import Connection

from lossboard.wire import Record
from lossboard_server.domain.blocks import as_blocks
from lossboard_server.domain.curves import Curve, Standing, draw
from lossboard_server.domain.points import bucket_rows
from lossboard_server.domain.pyramid import BUCKET_WIDTHS
from lossboard_server.store.database import select_tuples
from lossboard_server.store.reading.buckets import read_buckets
from lossboard_server.store.reading.laps import read_laps
from lossboard_server.store.reading.rows import read_lines
from lossboard_server.store.reading.series import Series, read_series
from lossboard_server.store.store import Store
from lossboard_server.store.tables import IS_EXTREME
from lossboard_server.store.writing.deliveries import Delivery, Sender

AXES = ("batch", "items", "tokens", "step", "time")


def send(store: Store, records: list[Record]) -> None:
    store.put_records("r", Delivery(as_blocks(records))).result(5)


def line(count: int, *, first: int = 0, **more: Any) -> list[Record]:
    base = Record("train/loss", 0, 0, 1.0, 2, time=1e9)._replace(**more)
    return [base._replace(batch=batch, loss=1.0 + batch % 7) for batch in range(first, first + count)]


def one_series(connection: Connection) -> Series:
    (series,) = read_series(connection, 1)
    return series


def draw_rows(connection: Connection, series: Series, width: int, axis: str) -> Curve:
    ranks = {lap.place: lap.ranks for lap in read_laps(connection, series)}
    lines = read_lines(connection, series, -1, 2**31 - 1)
    return draw(bucket_rows(lines, width, ranks), axis, Standing())


def draw_buckets(connection: Connection, series: Series, width: int, axis: str) -> Curve:
    return draw(read_buckets(connection, series, read_laps(connection, series), width), axis, Standing())


def assert_same_curves(store: Store, scale: float = 1e3) -> None:
    with store.reading() as connection:
        series = one_series(connection)
        for width in BUCKET_WIDTHS[:4]:
            for axis in AXES:
                rows = draw_rows(connection, series, width, axis)
                buckets = draw_buckets(connection, series, width, axis)
                for name in ("count", "nonfinite", "epoch", "batch", "low", "high"):
                    assert list(getattr(buckets, name)) == list(getattr(rows, name)), (name, width)
                for name in ("x", "batch_view", "running"):
                    wanted = [
                        None if y is None else pytest.approx(y, rel=1e-13, abs=1e-13 * scale)
                        for y in getattr(rows, name)
                    ]
                    assert getattr(buckets, name) == wanted, (name, width, axis)
                assert [(e.x, e.epoch, e.batch, str(e.loss)) for e in buckets.events] == [
                    (e.x, e.epoch, e.batch, str(e.loss)) for e in rows.events
                ]


def some_records(rng: random.Random) -> list[Record]:
    """Return a training of several ranks and attempts as hard to follow as they come."""
    records = []
    reduction = rng.choice(["mean", "sum", None])
    has_weight, has_time, has_step = (rng.random() < 0.5 for _ in range(3))
    for attempt in range(rng.choice([1, 1, 2, 3])):
        first_epoch = rng.choice([0, 0, 1]) if attempt else 0
        start = rng.choice([0, 16, 40, 64, 100]) if attempt else 0
        for epoch in range(first_epoch, first_epoch + rng.randint(1, 3)):
            stride = rng.choice([1, 1, 1, 3, 50])
            batches = range(start if epoch == first_epoch else 0, rng.choice([3, 16, 17, 300, 700]), stride)
            for batch in batches:
                for rank in range(rng.choice([1, 2])):
                    loss = rng.choice([math.nan, math.inf, -math.inf]) if rng.random() < 0.02 else None
                    size = rng.choice([8, 8, 8, 3]) if loss is None or rng.random() < 0.8 else 0
                    records.append(
                        Record(
                            "train/loss", epoch, batch, rng.gauss(0, 100) if loss is None else loss, size,
                            weight=rng.choice([0.0, 0.5, 7.0, None]) if has_weight else None,
                            divisor=rng.choice([None, 4.0]) if has_weight else None,
                            step=(epoch * 1000 + batch) // 4 if has_step else None,
                            time=1e9 + epoch * 1000 + batch if has_time else 1e9,
                            pass_no=rng.choice([0] * 50 + [1]), rank=rank, attempt=float(attempt),
                            reduction=reduction,
                        )
                    )  # fmt: skip
    return records


@pytest.mark.parametrize("seed", range(12))
def test_curve_from_buckets_is_the_curve_from_rows(store: Store, seed: int) -> None:
    rng = random.Random(seed)
    records = some_records(rng)
    order = rng.choice(["as trained", "shuffled", "shuffled in parts"])
    if order == "shuffled":
        rng.shuffle(records)
    parts = []
    while records:
        size = rng.choice([1, 10, 200, 2000])
        parts.append(records[:size])
        records = records[size:]
    if order != "as trained":
        rng.shuffle(parts)
    for part in parts[:60]:
        send(store, part)
        if rng.random() < 0.05:
            send(store, part[:3])  # typed twice: kept twice
    assert_same_curves(store)


def test_duplicates_of_a_sender_do_not_reach_the_buckets(store: Store) -> None:
    records = line(100)
    for first in (0, 0, 30, 60, 40):
        indexes = range(first, first + 40)
        sender = Sender("w", first, 0.0, 0)
        part = [records[index] for index in indexes]
        store.put_records("r", Delivery(as_blocks(part, indexes), sender)).result(5)
    assert_same_curves(store)
    with store.reading() as connection:
        total = connection.exec_driver_sql("SELECT sum(seen) FROM buckets WHERE width = 16").scalar()
    assert total == 100


def test_epoch_shorter_than_a_width_has_no_buckets_of_it(store: Store) -> None:
    def widths() -> set[int]:
        with store.reading() as connection:
            return {row[0] for row in connection.exec_driver_sql("SELECT DISTINCT width FROM buckets")}

    send(store, line(16))
    assert widths() == set(), "its epoch's summary says the same"
    send(store, line(1, first=16))
    assert widths() == {16}
    send(store, line(2, first=16))
    send(store, line(1, first=64) + line(1, first=70, epoch=1))
    assert widths() == {16, 64}
    assert_same_curves(store)


def test_width_opened_by_one_rank_holds_what_others_sent_before(store: Store) -> None:
    send(store, line(10, rank=1))
    send(store, line(5, first=3, rank=0))
    send(store, line(300, first=10, rank=1))
    send(store, line(100, first=8, rank=0))
    assert_same_curves(store)


def test_validation_has_no_buckets(store: Store) -> None:
    send(store, line(100, series="val/loss"))
    with store.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM buckets").scalar() == 0
        assert connection.exec_driver_sql("SELECT seen, last_batch FROM epochs").one() == (100, 99)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_losses_that_are_not_finite_are_found_without_reading_the_others(store: Store) -> None:
    send(store, line(50))
    with store.reading() as connection:
        plan = connection.exec_driver_sql(
            "EXPLAIN QUERY PLAN SELECT * FROM records WHERE run = 1 AND series = 0 AND epoch BETWEEN 0 AND 9 "
            f"AND ({IS_EXTREME}) ORDER BY epoch DESC, pass_no DESC, batch DESC, rank DESC"
        ).all()
    assert ["USING INDEX ix_records_nonfinite" in row[3] for row in plan] == [True]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_merging_into_a_bucket_looks_only_that_bucket_up(store: Store) -> None:
    keys = ("run", "series", "attempt", "width", "epoch", "pass_no", "number")
    asked: list[str] = []
    send(store, line(100))
    with store.reading() as connection:
        driver: Any = connection.connection.driver_connection
        driver.set_trace_callback(asked.append)
        found = select_tuples(connection, "buckets", ("number", "seen"), keys, [(1, 0, 0, 16, 0, 0, 2)])
        driver.set_trace_callback(None)
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked[0]}").all()
    assert found == [(2, 16)]
    assert " AND ".join(f"{key}=?" for key in keys) in plan[-1][3], "and no stretch of the table"


def test_hundred_rows_typed_twice_are_kept_twice(store: Store) -> None:
    for _ in range(2):
        send(store, line(100))
    with store.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*), max(call) FROM records").one() == (200, 1)
    assert_same_curves(store)
