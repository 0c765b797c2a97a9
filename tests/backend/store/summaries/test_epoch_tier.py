"""The tier over epochs: closed buckets stand, open ones don't, and records that come late put them right."""

import json
from typing import Any

import pytest

from lossboard.wire import Record
from lossboard_server.domain.blocks import as_blocks
from lossboard_server.domain.epoch_pyramid import EpochBucket
from lossboard_server.store.store import Store
from lossboard_server.store.summaries.epoch_tier import read_epoch_buckets, rebuild_epoch_tier
from lossboard_server.store.writing.deliveries import Delivery


def send(store: Store, records: list[Record]) -> None:
    store.put_records("r", Delivery(as_blocks(records))).result(5)


def epochs(first: int, end: int, batches: int = 2, **more: Any) -> list[Record]:
    base = Record("train/loss", 0, 0, 1.0, 2, time=1e9)._replace(**more)
    return [
        base._replace(epoch=epoch, batch=batch, loss=float(epoch + 1), time=1e9 + epoch * 10 + batch)
        for epoch in range(first, end)
        for batch in range(batches)
    ]


def read(store: Store, width: int = 16, series: int = 0, attempt: int = 0) -> dict[int, EpochBucket]:
    with store.reading() as connection:
        return read_epoch_buckets(connection, 1, series, attempt, width, 0, 2**31 - 1)


def rows(store: Store) -> list[Any]:
    query = "SELECT * FROM epoch_buckets ORDER BY run, series, attempt, width, number"
    with store.reading() as connection:
        return list(connection.exec_driver_sql(query).all())


def test_bucket_stands_once_training_has_gone_on_behind_it(store: Store) -> None:
    send(store, epochs(0, 16))
    assert read(store) == {}, "epoch 15 may still grow"
    send(store, epochs(16, 17))
    (bucket,) = read(store).values()
    assert (bucket.points, bucket.ranks, bucket.batches, bucket.summary.seen) == (16, 1, 32.0, 32)
    assert (bucket.summary.low, bucket.summary.high, bucket.summary.last_batch) == (1.0, 16.0, 1)
    assert bucket.summary.last_time == 1e9 + 151
    assert bucket.views["batch_mean"] == (16, 136.0, 1.0, 16.0)
    assert bucket.views["raw_sum"] == (16, 272.0, 2.0, 32.0)
    assert read(store, 64) == {}


def test_one_delivery_closes_buckets_of_every_width(store: Store) -> None:
    send(store, epochs(0, 300, batches=1))
    assert sorted(read(store)) == list(range(18))
    assert sorted(read(store, 64)) == [0, 1, 2, 3]
    assert sorted(read(store, 256)) == [0]
    assert read(store, 256)[0].points == 256
    assert read(store, 256)[0].views["per_item"] == (256, 256 * 257 / 2, 1.0, 256.0)


def test_epoch_by_epoch_makes_the_buckets_of_one_delivery(store: Store) -> None:
    for epoch in range(140):
        send(store, epochs(epoch, epoch + 1))
    one_by_one = rows(store)
    with store.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM epoch_buckets").scalar() == 8 + 2
    store.write(lambda connection: (rebuild_epoch_tier(connection, 1), [])).result(5)
    assert rows(store) == one_by_one


def test_last_batch_of_a_bucket_is_that_of_its_last_epoch(store: Store) -> None:
    send(store, epochs(0, 15, batches=9) + epochs(15, 17, batches=3, batch_size=7))
    summary = read(store)[0].summary
    assert (summary.last_batch, summary.last_batch_size, summary.batch_size) == (2, 7, 7)


def test_gap_of_whole_buckets_has_no_rows(store: Store) -> None:
    send(store, epochs(0, 3) + epochs(100, 101))
    assert sorted(read(store)) == [0]
    assert sorted(read(store, 64)) == [0]
    assert read(store, 64)[0].points == 3


def test_late_epoch_in_a_gap_fills_every_width(store: Store) -> None:
    send(store, epochs(0, 1) + epochs(600, 601))
    send(store, epochs(200, 201))
    assert {w: {n: b.points for n, b in read(store, w).items()} for w in (16, 64, 256)} == {
        16: {0: 1, 12: 1},
        64: {0: 1, 3: 1},
        256: {0: 2},
    }


def test_rank_that_lags_behind_a_border_is_merged_in(store: Store) -> None:
    send(store, epochs(0, 20))
    send(store, epochs(0, 20, rank=1))
    bucket = read(store)[0]
    assert (bucket.points, bucket.ranks, bucket.batches, bucket.summary.seen) == (16, 2, 32.0, 64)
    assert bucket.views["raw_sum"] == (16, 272.0, 2.0, 32.0), "the mean over the ranks"


def test_passes_of_validation_are_points_of_their_own(store: Store) -> None:
    for pass_no in range(3):
        send(store, epochs(0, 17, series="val/loss", pass_no=pass_no))
    bucket = read(store)[0]
    assert (bucket.points, bucket.summary.seen) == (48, 96)
    assert bucket.views["batch_mean"].told == 48
    assert "step_objective" not in bucket.views, "validation makes no steps"


def test_undeclared_epochs_are_in_no_bucket(store: Store) -> None:
    send(store, [record._replace(epoch=None) for record in epochs(0, 1)])
    send(store, epochs(0, 40))
    assert [bucket.summary.seen for bucket in read(store).values()] == [32, 32]


def test_attempts_have_buckets_of_their_own(store: Store) -> None:
    send(store, epochs(0, 20) + epochs(10, 40, attempt=1.0))
    assert {n: b.points for n, b in read(store).items()} == {0: 16}
    assert {n: b.points for n, b in read(store, attempt=1).items()} == {0: 6, 1: 16}


def test_views_that_an_epoch_lacks_are_left_out_and_infinity_is_told(store: Store) -> None:
    records = epochs(0, 17, batches=1)
    records[3] = records[3]._replace(loss=float("nan"))
    records[5] = records[5]._replace(loss=1.7e308, batch_size=1000)
    send(store, records)
    views = read(store)[0].views
    assert views["batch_mean"].told == 15
    assert views["normalized_sum"].greatest == views["normalized_sum"].sum == float("inf")
    with store.reading() as connection:
        written = connection.exec_driver_sql("SELECT CAST(views AS VARCHAR) FROM epoch_buckets").scalar_one()
    json.loads(written, parse_constant=pytest.fail)  # JSON has no word for it
