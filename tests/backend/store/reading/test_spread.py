"""The few epochs that stand for a run in the list: spread over all, with the last, whatever was resumed."""

from collections.abc import Iterator
from itertools import pairwise

import pytest

from lossboard.wire import Record
from lossboard_server.domain.blocks import as_blocks
from lossboard_server.store.reading.epochs import Epoch, read_epochs, read_spread_epochs
from lossboard_server.store.reading.series import read_series
from lossboard_server.store.store import Store
from lossboard_server.store.writing.deliveries import AttemptStart, Delivery, RunSpec, Sender

AT_MOST = 40


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    store = Store(database)
    yield store
    store.close()


def train(
    store: Store, epochs: range, *, attempt: float = 1.0, start: int | None = 0, batch: int = 0
) -> None:
    """Train epochs of two batches each; `start` None: nobody knows where it goes on."""
    declared = AttemptStart(attempt, start, batch)
    store.put_run("r", RunSpec(attempt=declared)).result(5)
    rows = [
        Record("train/loss", epoch, b, attempt + epoch, 2, time=attempt * 1e6 + epoch, attempt=attempt)
        for epoch in epochs
        for b in range(2)
        if (epoch, b) >= (epochs.start, batch)
    ]
    for first in range(0, len(rows), 5000):
        part = rows[first : first + 5000]
        sender = Sender(f"w{attempt}", first, attempt, 0)
        store.put_records("r", Delivery(as_blocks(part, range(first, first + len(part))), sender)).result(30)


def read(store: Store, at_most: int | None) -> list[Epoch]:
    with store.reading() as connection:
        (series,) = read_series(connection, 1, with_steps=False)
        if at_most is None:
            return read_epochs(connection, series)
        return read_spread_epochs(connection, series, at_most)


def assert_spread(store: Store, least: int) -> None:
    """Hold the few to be a part of all, the same to the last number, with the last and without large gaps."""
    everything = read(store, None)
    few = read(store, AT_MOST)
    known = {epoch.epoch: epoch for epoch in everything}
    assert [epoch.epoch for epoch in few] == sorted({epoch.epoch for epoch in few})
    assert all(epoch == known[epoch.epoch] for epoch in few)
    assert few[-1] == everything[-1]
    assert least <= len(few) <= AT_MOST + 1
    order = [epoch.epoch for epoch in everything]
    places = [order.index(epoch.epoch) for epoch in few]
    gaps = [b - a for a, b in pairwise(places)]
    assert max(gaps, default=1) <= 2 * -(-len(order) // AT_MOST)


@pytest.mark.parametrize("count", [1, 39, 40, 41, 100, 3001])
def test_epochs_of_a_long_run_are_spread(store: Store, count: int) -> None:
    train(store, range(count))
    assert_spread(store, min(count, 20))


def test_run_that_logs_every_hundredth_epoch_shows_them_all(store: Store) -> None:
    train(store, range(0, 3_900, 100))
    assert len(read(store, AT_MOST)) == 39
    assert_spread(store, 39)


@pytest.mark.parametrize("batch", [0, 1])
def test_resumed_run_shows_what_is_visible(store: Store, batch: int) -> None:
    train(store, range(200))
    train(store, range(90, 130), attempt=2.0, start=90, batch=batch)
    assert_spread(store, 20)
    assert read(store, AT_MOST)[-1].epoch == 129


def test_attempt_of_unknown_position_is_counted_on(store: Store) -> None:
    train(store, range(1_000))
    train(store, range(3), attempt=2.0, start=None)
    assert_spread(store, 20)
    assert read(store, AT_MOST)[-1].epoch == 1_002


def test_run_that_told_no_epochs_shows_the_one_that_it_has(store: Store) -> None:
    rows = [Record("train/loss", None, batch, 1.0, 2) for batch in range(5)]
    store.put_run("r", RunSpec()).result(5)
    store.put_records("r", Delivery(as_blocks(rows))).result(5)
    (epoch,) = read(store, AT_MOST)
    assert not epoch.is_declared


def test_attempt_that_is_hidden_whole_shows_nothing(store: Store) -> None:
    train(store, range(5))
    train(store, range(2), attempt=2.0, start=0)
    assert [epoch.epoch for epoch in read(store, AT_MOST)] == [0, 1]
