"""Reading rows within a budget, and remembering what they told."""

import pytest
from sqlalchemy import event

from lossboard.wire import Record
from lossboard_server.domain.blocks import as_blocks
from lossboard_server.store.reading.budget import Budget, Memo
from lossboard_server.store.reading.epochs import read_epochs, view
from lossboard_server.store.reading.rows import read_lines
from lossboard_server.store.reading.series import read_series
from lossboard_server.store.store import Store
from lossboard_server.store.writing.deliveries import Delivery


def send(store: Store, epoch: int, *losses: float, rank: int = 0) -> None:
    """Store an epoch of two batches a step; an odd one leaves a window over, which only rows tell."""
    records = [
        Record("train/loss", epoch, batch, loss, 2, step=batch // 2, time=1e9, rank=rank)
        for batch, loss in enumerate(losses)
    ]
    store.put_records("r", Delivery(as_blocks(records))).result(5)


def objectives(store: Store, budget: Budget | None) -> list[float | None]:
    with store.reading() as connection:
        (series,) = read_series(connection, 1)
        epochs = read_epochs(connection, series)
        return [view(connection, series, epoch, budget).step_objective for epoch in reversed(epochs)]


def test_budget_is_taken_whole_or_not_at_all() -> None:
    budget = Budget(5)
    assert [budget.take(3), budget.take(3), budget.take(2), budget.take(1)] == [True, False, True, False]


def test_step_objective_beyond_the_budget_is_not_told(store: Store) -> None:
    for epoch in range(3):
        send(store, epoch, 4.0, 2.0, 1.0 + epoch)
    assert objectives(store, Budget(6)) == [3.0, 2.5, None]
    assert objectives(store, None) == [None, None, None]


def test_step_objective_that_summaries_tell_costs_nothing(store: Store) -> None:
    send(store, 0, 4.0, 2.0, 1.0, 1.0)
    assert objectives(store, Budget(0)) == [2.0]


def test_raw_sum_of_uneven_ranks_is_told_whatever_the_budget(store: Store) -> None:
    send(store, 0, 4.0, 2.0)
    send(store, 0, 2.0, rank=1)
    with store.reading() as connection:
        (series,) = read_series(connection, 1)
        (epoch,) = read_epochs(connection, series)
        assert view(connection, series, epoch, Budget(0)).raw_sum == 5.0


def test_what_rows_told_is_remembered_until_they_change(store: Store) -> None:
    memo = Memo()
    asked: list[str] = []
    for epoch in range(2):
        send(store, epoch, 4.0, 2.0, 1.0)
    event.listen(store.engine, "before_cursor_execute", lambda *a: asked.append(a[2]))

    def read() -> tuple[list[float | None], int]:
        asked.clear()
        found = objectives(store, Budget(100, memo))
        return found, sum("FROM records" in statement for statement in asked)

    assert read() == ([2.0, 2.0], 2)
    assert read() == ([2.0, 2.0], 0)
    send(store, 1, 4.0, 2.0, 7.0)  # typed again: kept as second calls of the same batches
    assert read() == ([(8 + 4) / 2 / 2 + 8 / 2, 2.0], 1)


def test_remembered_rows_count_against_the_budget(store: Store) -> None:
    memo = Memo()
    for epoch in range(2):
        send(store, epoch, 4.0, 2.0, 1.0)
    assert objectives(store, Budget(100, memo)) == [2.0, 2.0]
    assert objectives(store, Budget(3, memo)) == [2.0, None], "a question has one answer"


def test_memo_lets_go_of_what_was_asked_for_least_recently() -> None:
    memo = Memo(most=2)
    for key in ("a", "b", "a", "c"):
        assert memo.find(key, lambda key=key: key.upper()) == key.upper()  # type: ignore[misc]
    assert memo.find("a", lambda: "anew") == "A"
    assert memo.find("b", lambda: "anew") == "anew"


def test_memo_does_not_keep_a_failure() -> None:
    memo = Memo()

    def fail() -> str:
        raise ValueError

    with pytest.raises(ValueError):
        memo.find("a", fail)
    assert memo.find("a", lambda: "A") == "A"


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("attempts", [1, 2])
def test_epoch_is_read_without_reading_the_series(store: Store, attempts: int) -> None:
    for attempt in range(attempts):
        records = [
            Record("train/loss", epoch, 0, 1.0, 2, time=1e9, attempt=float(attempt)) for epoch in range(9)
        ]
        store.put_records("r", Delivery(as_blocks(records))).result(5)
    asked: list[tuple[str, tuple[object, ...]]] = []
    with store.reading() as connection:
        (series,) = read_series(connection, 1)
        event.listen(connection, "before_cursor_execute", lambda *a: asked.append((a[2], a[3])))
        lines = list(read_lines(connection, series, 3, 4))
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {asked[0][0]}", asked[0][1]).all()
    assert [line.epoch for line in lines] == [3, 4]
    assert "run=? AND series=? AND attempt=? AND epoch>? AND epoch<?" in plan[0][3]
    assert ("SORT" in str(plan) or "B-TREE" in str(plan)) == (attempts > 1), "in the key's own order"
