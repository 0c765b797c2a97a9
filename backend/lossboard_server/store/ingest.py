"""Storing records: exactly once by writer and index, rows and summaries in one transaction."""

import math
import time
from collections import defaultdict
from typing import Any

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from lossboard.wire import Record
from lossboard_server.domain.changes import Change
from lossboard_server.domain.meaning import Evaluation, Reduction
from lossboard_server.domain.summary import Row, reduction_of, summarise
from lossboard_server.store.database import insert_tuples
from lossboard_server.store.deliveries import Delivery, Receipt, Sender
from lossboard_server.store.register import find_run, open_attempts, open_series
from lossboard_server.store.rollup import Key, merge_into
from lossboard_server.store.tables import RecordRow, RunRow, WriterRow

UNDECLARED_EPOCH = -1
COLUMNS = (
    "run", "series", "attempt", "epoch", "pass_no", "batch", "rank", "call", "loss", "batch_size", "weight",
    "divisor", "window_items", "reduction", "step", "time_unix_s",
)  # fmt: skip


def store_delivery(connection: Connection, run_id: str, delivery: Delivery) -> tuple[Receipt, list[Change]]:
    """Store a request's records and move its writer's mark.

    Raises: RunNotFound if the run was never made.
    """
    run = find_run(connection, run_id)
    now = time.time()
    records, duplicates, following = list(delivery.records), 0, None
    if delivery.sender is not None:
        records, duplicates, following = _take_new(connection, run.key, delivery, delivery.sender, now)
    names = {record.series for record in records} | set(delivery.meanings)
    series = open_series(connection, run.key, {name: delivery.meanings.get(name) for name in names}, records)
    starts = {record.attempt: (record.epoch or 0, record.batch) for record in reversed(records)}
    attempts = open_attempts(connection, run.key, starts)
    rows = [_as_row(run.key, series, attempts, record, now) for record in records]
    if rows:
        rows = _insert(connection, rows)
        merge_into(connection, run.key, _summarise(rows, series))
    state = _tell_state(connection, run, delivery.sender)
    connection.execute(
        update(RunRow)
        .where(RunRow.key == run.key)
        .values(
            records=RunRow.records + len(rows),
            version=RunRow.version + 1,
            last_seen_unix_s=now,
            state=state,
            **({"last_record_unix_s": now} if rows else {}),
        )
    )
    change = Change(run_id, {record.series for record in records}, run.version + 1, state != run.state)
    return Receipt(len(rows), duplicates, following), [change]


def _take_new(
    connection: Connection, run: int, delivery: Delivery, sender: Sender, now: float
) -> tuple[list[Record], int, int]:
    """Skip what was stored before, and move the writer's mark past this request."""
    where = (WriterRow.run == run, WriterRow.writer == sender.writer)
    known = connection.execute(select(WriterRow.next, WriterRow.gaps).where(*where)).first()
    expected, gaps = (known.next, known.gaps) if known else (0, 0)
    fresh = [r for r, index in zip(delivery.records, delivery.indexes, strict=True) if index >= expected]
    following = max((index + 1 for index in delivery.indexes), default=expected)
    following = max(following, expected)
    values: dict[str, Any] = {
        "next": following,
        "gaps": gaps + (following - expected) - len(fresh),
        "last_seen_unix_s": now,
    }
    if sender.state is not None:
        values["state"] = sender.state
    if sender.dropped is not None:
        values["dropped"] = sender.dropped
    if known:
        connection.execute(update(WriterRow).where(*where).values(values))
    else:
        attempt = open_attempts(connection, run, {sender.attempt: None})[sender.attempt]
        base = {"run": run, "writer": sender.writer, "rank": sender.rank, "attempt": attempt}
        connection.execute(insert(WriterRow), {"state": "running", "dropped": {}, **base, **values})
    return fresh, len(delivery.records) - len(fresh), following


def _tell_state(connection: Connection, run: Any, sender: Sender | None) -> str:
    """The run's state once this request is in: an end holds when no writer of it still runs."""
    if sender is None or sender.state is None:
        return str(run.state)
    if sender.state == "running":
        return "running"
    states = connection.execute(select(WriterRow.state).where(WriterRow.run == run.key)).scalars().all()
    if "running" in states:
        return "running"
    return "failed" if "failed" in states else "finished"


def _as_row(
    run: int,
    series: dict[str, tuple[int, Reduction]],
    attempts: dict[float, int],
    record: Record,
    now: float,
) -> tuple[Any, ...]:
    key, default = series[record.series]
    own = None if record.reduction is None else Reduction.named(record.reduction)
    return (
        run,
        key,
        attempts[record.attempt],
        UNDECLARED_EPOCH if record.epoch is None else record.epoch,
        record.pass_no,
        record.batch,
        record.rank,
        record.call or 0,
        None if math.isnan(record.loss) else record.loss,
        record.batch_size,
        record.weight,
        record.divisor,
        record.window_items,
        None if own is None or own == default else int(own),
        record.step,
        now if record.time is None else record.time,
    )


def _insert(connection: Connection, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Insert rows; a place that is taken makes the row the next call of that place."""
    try:
        with connection.begin_nested():
            insert_tuples(connection, RecordRow.__tablename__, COLUMNS, rows)
        return rows
    except IntegrityError:
        rows = _number_calls(connection, rows)
        insert_tuples(connection, RecordRow.__tablename__, COLUMNS, rows)
        return rows


def _number_calls(connection: Connection, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    # Only where somebody logs the same batch twice: once by hand, or a closure's evaluations.
    table = RecordRow.__table__.c
    place = (table.run, table.series, table.attempt, table.epoch, table.pass_no, table.batch, table.rank)
    taken: dict[tuple[Any, ...], int] = {}
    numbered = []
    for row in rows:
        where = row[:7]
        if where not in taken:
            query = select(func.max(table.call)).where(*(c == v for c, v in zip(place, where, strict=True)))
            last = connection.execute(query).scalar()
            taken[where] = -1 if last is None else last
        call = max(taken[where] + 1, row[7])
        taken[where] = call
        numbered.append((*where, call, *row[8:]))
    return numbered


def _summarise(
    rows: list[tuple[Any, ...]], series: dict[str, tuple[int, Reduction]]
) -> dict[Key, tuple[Reduction, Any]]:
    defaults = dict(series.values())
    groups: defaultdict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        (
            _,
            key,
            attempt,
            epoch,
            pass_no,
            batch,
            rank,
            _,
            loss,
            size,
            weight,
            divisor,
            window,
            own,
            step,
            at,
        ) = row
        reduction = defaults[key] if own is None else Reduction(own)
        evaluation = Evaluation(math.nan if loss is None else loss, size, weight, divisor, window, reduction)
        groups[key, attempt, epoch, pass_no, rank].append(Row(epoch, batch, rank, evaluation, step, at))
    return {
        key: (reduction_of(row.evaluation.reduction for row in group), summarise(group))
        for key, group in groups.items()
    }
