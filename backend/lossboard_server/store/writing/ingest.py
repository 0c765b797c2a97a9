"""Storing records: exactly once by writer and index, rows and summaries in one transaction."""

from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from lossboard import wire
from lossboard_server.domain.blocks import Block
from lossboard_server.domain.changes import Change
from lossboard_server.domain.meaning import Reduction
from lossboard_server.domain.run_state import follow
from lossboard_server.errors import InvalidInput
from lossboard_server.store.database import insert_tuples
from lossboard_server.store.statements import Statement, savepoint
from lossboard_server.store.summaries.epoch_tier import close_epoch_buckets, read_epoch_reach
from lossboard_server.store.summaries.rollup import merge_blocks
from lossboard_server.store.tables import SILENT, TRAIN_SPLIT, RecordRow, RunRow, WriterRow
from lossboard_server.store.writing.bulk import Column, insert_columns, zip_columns
from lossboard_server.store.writing.deliveries import Delivery, Receipt, Sender
from lossboard_server.store.writing.life import LIFE, NEVER, Signs
from lossboard_server.store.writing.register import find_run, open_attempts, open_series
from lossboard_server.store.writing.trail import extend_trails, find_touched

COLUMNS = tuple(column.name for column in RecordRow.__table__.columns)

Keyed = tuple[int, int, Reduction, Block]
"""(series, attempt, reduction, records)."""


_WRITER = ("next", "gaps", "last_seen_unix_s", "state", "dropped")

# Made once, as in register.py.
_TOUCH_RUN = Statement(
    update(RunRow)
    .where(RunRow.key == bindparam("of_run"))
    .values(
        records=RunRow.records + bindparam("stored"),
        version=RunRow.version + 1,
        **{name: bindparam(name) for name in ("state", *(column.key for column in LIFE))},
    )
)
_is_writer = (WriterRow.run == bindparam("of_run"), WriterRow.writer == bindparam("named"))
_FIND_WRITER = Statement(select(*(getattr(WriterRow, name) for name in _WRITER)).where(*_is_writer))
_MOVE_WRITER = Statement(
    update(WriterRow).where(*_is_writer).values({name: bindparam(name) for name in _WRITER})
)


def store_delivery(
    connection: Connection, run_id: str, delivery: Delivery, now: float
) -> tuple[Receipt, list[Change]]:
    """Store a request's records and move its writer's mark.

    Raises: RunNotFound if the run was never made.
    """
    run = find_run(connection, run_id)
    signs = Signs(run, delivery, now)
    blocks, duplicates, following = delivery.blocks, 0, None
    if delivery.sender is not None:
        blocks, duplicates, following = _take_new(connection, signs, delivery.sender)
    else:
        signs.hear(blocks)
    names = {block.series for block in blocks}
    meanings = {name: delivery.meanings.get(name) for name in names | set(delivery.meanings)}
    series = open_series(connection, run.key, meanings, blocks)
    by_attempt: dict[float, list[Block]] = {}
    for block in blocks:
        by_attempt.setdefault(block.attempt, []).append(block)
    attempts = open_attempts(connection, run.key, by_attempt)
    blocks = [replace(block, time=_fill_times(block, now)) for block in blocks]
    stored = sum(map(len, blocks))
    if blocks:
        keyed = [_keyed(block, attempts[block.attempt], *series[block.series]) for block in blocks]
        _insert(connection, run.key, keyed, dict(series.values()))
        trains = {key for name, (key, _) in series.items() if name.startswith(TRAIN_SPLIT)}
        reach = read_epoch_reach(connection, run.key, {(key, attempt) for key, attempt, *_ in keyed})
        grown = merge_blocks(connection, run.key, keyed, with_buckets=trains)
        close_epoch_buckets(connection, run.key, grown, reach, trains)
        touched = find_touched(((key, attempt, block) for key, attempt, _, block in keyed), trains)
        extend_trails(connection, run.key, run.version + 1, touched)
    told = signs.tell_run(connection)
    _TOUCH_RUN.run(connection, {"of_run": run.key, "stored": stored} | told)
    change = Change(run_id, names, run.version + 1, signs.is_news(told), run.key)
    return Receipt(stored, duplicates, following), [change]


def _take_new(connection: Connection, signs: Signs, sender: Sender) -> tuple[list[Block], int, int]:
    """Skip what was stored before, and move the writer's mark past this request."""
    delivery, run = signs.delivery, signs.run.key
    where = {"of_run": run, "named": sender.writer}
    known = next(iter(_FIND_WRITER.run(connection, where)), None)
    expected, gaps = (known.next, known.gaps) if known else (0, 0)
    fresh = [block for block in (_after(block, expected) for block in delivery.blocks) if block is not None]
    following = max((max(block.index) + 1 for block in fresh), default=expected)
    taken = sum(map(len, fresh))
    signs.hear(fresh)
    seen = signs.find_seen()
    told = delivery.state
    values: dict[str, Any] = {
        "next": following,
        "gaps": gaps + (following - expected) - taken,
        "last_seen_unix_s": seen if seen is not None else known.last_seen_unix_s if known else NEVER,
        "state": follow(known.state if known else None, told) if told else known.state if known else SILENT,
        "dropped": _join_dropped(known.dropped if known else {}, sender.dropped or {}),
    }
    if known:
        _MOVE_WRITER.run(connection, where | values)
    else:
        attempt = open_attempts(connection, run, {sender.attempt: ()})[sender.attempt]
        base = {"run": run, "writer": sender.writer, "rank": sender.rank, "attempt": attempt}
        connection.execute(insert(WriterRow), base | values)
    return fresh, sum(map(len, delivery.blocks)) - taken, following


def _join_dropped(known: dict[str, int], told: dict[str, int]) -> dict[str, int]:
    """Take the greater count of each reason: whoever takes over a dead writer's journal knows only a part."""
    return known | {reason: max(count, known.get(reason, 0)) for reason, count in told.items()}


def _after(block: Block, expected: int) -> Block | None:
    """Return what of a block is not stored yet; None where all of it is."""
    if min(block.index) >= expected:
        return block
    rows = [row for row, index in enumerate(block.index) if index >= expected]
    return block.select(rows) if rows else None


def _fill_times(block: Block, now: float) -> list[float | None]:
    if block.time is None:
        return [now] * len(block)
    return [now if time is None else time for time in block.time] if None in block.time else block.time


def _keyed(block: Block, attempt: int, series: int, default: Reduction) -> Keyed:
    reduction = default if block.reduction is None else Reduction.named(block.reduction)
    return series, attempt, reduction, block


def _insert(connection: Connection, run: int, blocks: list[Keyed], defaults: dict[int, Reduction]) -> None:
    """Insert records; a place that is taken makes the record the next call of that place."""
    told = [_columns(run, *keyed, defaults[keyed[0]]) for keyed in blocks]
    try:
        with savepoint(connection):
            for columns in told:
                insert_columns(connection, RecordRow.__tablename__, columns)
    except IntegrityError:
        rows = [row for columns in told for row in zip_columns(columns)]
        insert_tuples(connection, RecordRow.__tablename__, COLUMNS, _number_calls(connection, rows))


def _columns(
    run: int, series: int, attempt: int, reduction: Reduction, block: Block, default: Reduction
) -> list[Column]:
    """Return a block's columns in the order of COLUMNS."""
    return [
        Column("run", run),
        Column("series", series),
        Column("attempt", attempt),
        Column("epoch", values=block.epoch),
        Column("pass_no", 0, block.pass_no),
        Column("batch", values=block.batch),
        Column("rank", block.rank),
        Column("call", 0, None if block.call is None else [call or 0 for call in block.call]),
        # NaN differs from itself; the databases differ on it, so it is stored as null.
        Column("loss", values=[None if loss != loss else loss for loss in block.loss], is_free=True),
        Column("batch_size", values=block.batch_size),
        Column("weight", values=block.weight),
        Column("divisor", values=block.divisor),
        Column("window_items", values=block.window_items),
        Column("reduction", None if reduction == default else int(reduction)),
        Column("step", values=block.step),
        Column("time_unix_s", values=block.time),
    ]


def _number_calls(connection: Connection, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    # Only where somebody logs the same batch twice: once by hand, or a closure's evaluations.
    taken = _read_calls(connection, rows)
    numbered = []
    for row in rows:
        where = row[:7]
        call = max(taken.get(where, -1) + 1, row[7])
        if call > wire.MAX_SMALL:
            raise InvalidInput(f"call: batch {row[5]} of epoch {row[3]} has no number left for another call")
        taken[where] = call
        numbered.append((*where, call, *row[8:]))
    return numbered


def _read_calls(connection: Connection, rows: list[tuple[Any, ...]]) -> dict[tuple[Any, ...], int]:
    """Return the last call of each place that is taken, by stretches of batches: by place it took 1.5 s."""
    stretches: dict[tuple[Any, ...], list[int]] = {}
    for row in rows:
        stretches.setdefault((*row[:5], row[6]), []).append(row[5])
    table = RecordRow.__table__.c
    keys = (table.run, table.series, table.attempt, table.epoch, table.pass_no, table.rank)
    taken = {}
    for stretch, batches in stretches.items():
        query = (
            select(table.batch, func.max(table.call))
            .where(*(column == value for column, value in zip(keys, stretch, strict=True)))
            .where(table.batch.between(min(batches), max(batches)))
            .group_by(table.batch)
        )
        for batch, call in connection.execute(query):
            taken[(*stretch[:5], batch, stretch[5])] = call
    return taken
