"""Spans: neighbouring epochs read from their tier are those epochs merged, whatever attempts made them."""

import random
from itertools import groupby

import pytest
from sqlalchemy import Connection, event

from lossboard.wire import Record
from lossboard_server.domain.blocks import as_blocks
from lossboard_server.domain.epoch_pyramid import bucket_epoch, join_epochs
from lossboard_server.domain.points import Point, merge_all_points
from lossboard_server.store.reading.epochs import read_epochs
from lossboard_server.store.reading.laps import read_laps
from lossboard_server.store.reading.series import Series, read_series
from lossboard_server.store.reading.spans import find_extent, read_spans
from lossboard_server.store.store import Store
from lossboard_server.store.writing.deliveries import Delivery

LAST = 2**31 - 1


def send(store: Store, records: list[Record]) -> None:
    store.put_records("r", Delivery(as_blocks(records))).result(20)


def line(epochs: range, batches: int = 2, **more: object) -> list[Record]:
    base = Record("train/loss", 0, 0, 1.0, 2, time=1e9)._replace(**more)
    return [
        base._replace(
            epoch=epoch, batch=batch, loss=1.0 + (epoch * 7 + batch) % 11, step=epoch * batches + batch
        )
        for epoch in epochs
        for batch in range(batches)
    ]


def one_series(connection: Connection) -> Series:
    return next(series for series in read_series(connection, 1) if series.is_train)


def assert_spans_are_the_epochs(store: Store, first: int = 0, last: int = LAST) -> None:
    with store.reading() as connection:
        for series in read_series(connection, 1):
            laps = [lap for lap in read_laps(connection, series, first, last) if lap.place[0] >= 0]
            epochs = [epoch for epoch in read_epochs(connection, series) if first <= epoch.epoch <= last]
            for width in (16, 64, 256):
                told = read_spans(connection, series, first, last, width)
                groups = [
                    (number, list(group))
                    for number, group in groupby(laps, lambda lap, width=width: lap.place[0] // width)
                ]
                assert [lap.place[0] // width for lap in told] == [number for number, _ in groups]
                for lap, (number, group) in zip(told, groups, strict=True):
                    assert_same(lap.point, merge_all_points(one.point for one in group))
                    own = [epoch for epoch in epochs if epoch.epoch >= 0 and epoch.epoch // width == number]
                    whole = join_epochs(
                        [bucket_epoch(e.ranks, e.reduction, is_training=series.is_train) for e in own]
                    )
                    assert lap.whole is not None
                    assert (lap.whole.points, lap.ranks) == (len(own), max(len(e.ranks) for e in own))
                    assert lap.whole.views.keys() == whole.views.keys()
                    for name, span in lap.whole.views.items():
                        assert span == pytest.approx(whole.views[name], rel=1e-12)


def assert_same(told: Point, wanted: Point) -> None:
    for name in Point._fields[3:]:
        if not name.endswith("_low"):
            assert getattr(told, name) == pytest.approx(getattr(wanted, name), rel=1e-12), name


def test_spans_of_a_training_that_goes_on(store: Store) -> None:
    for first in range(0, 300, 37):
        send(store, line(range(first, first + 37)))
        assert_spans_are_the_epochs(store)
    assert_spans_are_the_epochs(store, 21, 277)


@pytest.mark.parametrize("seed", range(6))
def test_spans_of_attempts_ranks_passes_and_gaps(store: Store, seed: int) -> None:
    rng = random.Random(seed)
    records: list[Record] = []
    start = 0
    for attempt in range(rng.randint(1, 3)):
        stop = start + rng.randint(10, 150)
        epochs = range(start, stop, rng.choice([1, 1, 3]))
        for rank in range(rng.choice([1, 2])):
            records += line(epochs, attempt=float(attempt), rank=rank)
            records += line(epochs, 1, attempt=float(attempt), rank=rank, series="val/loss")
        if rng.random() < 0.5:
            records += line(epochs, 1, attempt=float(attempt), series="val/loss", pass_no=1)
        start = rng.randint(0, stop)
    rng.shuffle(records)
    for first in range(0, len(records), 200):
        send(store, records[first : first + 200])
    assert_spans_are_the_epochs(store)
    assert_spans_are_the_epochs(store, 13, 90)


def test_long_training_is_read_by_few_rows(store: Store) -> None:
    send(store, line(range(3000), 1))
    with store.reading() as connection:
        series = one_series(connection)
        assert find_extent(connection, series) == (0, 2999)
        asked: list[str] = []
        event.listen(connection, "before_cursor_execute", lambda *told: asked.append(told[2]))
        assert len(read_spans(connection, series, 0, 2999, 1024)) == 3
    assert len(asked) < 12
