"""A whole run on its way out: what is known of it as one object, and every record, read in chunks."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final

from sqlalchemy import Connection, select, tuple_

from lossboard import wire
from lossboard_server.domain.meaning import Reduction
from lossboard_server.errors import RunNotFound
from lossboard_server.store.tables import IMPORT_WRITER, AttemptRow, RecordRow, RunRow, SeriesRow, WriterRow

HEADER: Final = (
    "series", "attempt", "epoch", "pass_no", "batch", "rank", "call", "loss", "batch_size", "weight",
    "divisor", "window_items", "reduction", "step", "time",
)  # fmt: skip
"""The columns of a record: keys that `POST …/records` takes."""

RUN_COLUMNS: Final = (
    "project", "name", "config", "environment", "tags", "notes", "colour", "edited", "state",
    "created_unix_s", "archived_unix_s", "attempt_unix_s", "attempt_seen_unix_s", "last_seen_unix_s",
    "last_record_unix_s", "usual_interval_s", "usual_over_s", "pause_s", "stalled_after_s", "lost_after_s",
)  # fmt: skip
"""What of a run's own row goes with it: all but its key, its id and what is counted anew."""

ROWS_A_CHUNK: Final = 5_000

_record = RecordRow.__table__.c
_WITHIN: Final = (_record.epoch, _record.pass_no, _record.batch, _record.rank, _record.call)
_COLUMNS: Final = (
    *_WITHIN, _record.loss, _record.batch_size, _record.weight, _record.divisor, _record.window_items,
    _record.reduction, _record.step, _record.time_unix_s,
)  # fmt: skip
_LOSS: Final = HEADER.index("loss")

Reading = Callable[[], AbstractContextManager[Connection]]


def describe_whole(connection: Connection, key: int) -> dict[str, Any]:
    """Return what is known of a run beside its records, in an order that depends on nothing else.

    Units: times in unix seconds; attempts by their starts.
    """
    run = connection.execute(select(RunRow.__table__).where(RunRow.key == key)).one()
    all_series = _rows(connection, SeriesRow, key)
    attempts = {row.key: row for row in _rows(connection, AttemptRow, key)}
    writers = [row for row in _rows(connection, WriterRow, key) if not row.writer.startswith(IMPORT_WRITER)]
    return {
        "run": run.id,
        **{name: getattr(run, name) for name in RUN_COLUMNS},
        "series": {
            row.name: {
                "reduction": Reduction(row.reduction).wire_name,
                "weight_unit": row.weight_unit,
                "weight_source": row.weight_source,
                "traits": row.traits,
            }
            for row in sorted(all_series, key=lambda row: row.name)
        },
        "attempts": [
            {name: getattr(row, name) for name in _ATTEMPT}
            for row in sorted(attempts.values(), key=lambda row: row.started_unix_s)
        ],
        "writers": [
            {"writer": row.writer, "attempt": attempts[row.attempt].started_unix_s}
            | {name: getattr(row, name) for name in _WRITER}
            for row in sorted(writers, key=lambda row: row.writer)
        ],
        "records": run.records,
    }


_ATTEMPT: Final = ("started_unix_s", "start_epoch", "start_batch", "world_size", "is_declared")
_WRITER: Final = ("rank", "next", "gaps", "state", "last_seen_unix_s", "dropped")


def read_chunks(reading: Reading, key: int) -> Iterator[list[tuple[Any, ...]]]:
    """Yield a run's records as tuples of HEADER: by series, attempt, epoch, pass, batch, rank and call.

    Each chunk is a look of its own at the database: whoever reads slowly holds nothing open, and
    a run that trains on goes out as far as it had come when the reader was there.
    Raises: RunNotFound if the run is deleted meanwhile; half of it must not look whole.
    """
    with reading() as connection:
        series = {row.key: (row.name, Reduction(row.reduction)) for row in _rows(connection, SeriesRow, key)}
        attempts = {row.key: row.started_unix_s for row in _rows(connection, AttemptRow, key)}
    # Series by name and attempts by start, as on the page: their keys are by arrival.
    for one in sorted(series, key=lambda one: series[one]):
        for attempt in sorted(attempts, key=lambda attempt: attempts[attempt]):
            last = None
            while True:
                with reading() as connection:
                    rows = _read_chunk(connection, key, one, attempt, last)
                if not rows:
                    break
                last = rows[-1]
                yield _as_told(rows, *series[one], attempts[attempt])
                if len(rows) < ROWS_A_CHUNK:
                    break


def _read_chunk(connection: Connection, key: int, series: int, attempt: int, last: Any) -> list[Any]:
    is_here = select(RunRow.key).where(RunRow.key == key, RunRow.deleted_unix_s.is_(None))
    if connection.execute(is_here).first() is None:
        raise RunNotFound("The run was deleted while it was exported.")
    query = select(*_COLUMNS).where(_record.run == key, _record.series == series, _record.attempt == attempt)
    if last is not None:
        query = query.where(tuple_(*_WITHIN) > tuple_(*last[: len(_WITHIN)]))
    return list(connection.execute(query.order_by(*_WITHIN).limit(ROWS_A_CHUNK)).all())


def _rows(connection: Connection, table: Any, key: int) -> list[Any]:
    return list(connection.execute(select(table.__table__).where(table.run == key)))


def _as_told(rows: list[Any], name: str, reduction: Reduction, attempt: float) -> list[tuple[Any, ...]]:
    """Make rows of HEADER; unpacked, since asking a row for each column by name takes three times as long."""
    names = {None: reduction.wire_name} | {int(each): each.wire_name for each in Reduction}
    return [
        (
            *(name, attempt, None if epoch < 0 else epoch, pass_no, batch, rank, call),
            *(math.nan if loss is None else loss, size, weight, divisor, window, names[own], step, time),
        )
        for epoch, pass_no, batch, rank, call, loss, size, weight, divisor, window, own, step, time in rows
    ]


def encode_row(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a record's values as JSON and CSV carry them: a loss that is not finite by its name."""
    if math.isfinite(row[_LOSS]):
        return row
    return (*row[:_LOSS], wire.encode_number(row[_LOSS]), *row[_LOSS + 1 :])
