"""Every record of a run as text, streamed: CSV for tables, JSON Lines that can be posted back."""

import csv
import io
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Connection, select

from lossboard import wire
from lossboard_server.domain.meaning import Reduction
from lossboard_server.store.tables import AttemptRow, RecordRow, SeriesRow

HEADER = (
    "series", "attempt", "epoch", "pass_no", "batch", "rank", "call", "loss", "batch_size", "weight",
    "divisor", "window_items", "reduction", "step", "time",
)  # fmt: skip
ROWS_A_CHUNK = 2_000


def export_csv(connection: Connection, run: int) -> Iterator[bytes]:
    """Yield a run's records as CSV with a header; an unknown value is empty.

    Units: time in unix seconds; `attempt` as it was sent, its start in unix seconds.
    """
    yield _csv([HEADER])
    for rows in _read_chunks(connection, run):
        yield _csv(rows)


def export_jsonl(connection: Connection, run: int) -> Iterator[bytes]:
    """Yield a run's records as JSON Lines, each a row that `POST …/records` takes."""
    for rows in _read_chunks(connection, run):
        lines = [
            to_json(
                {
                    name: value
                    for name, value in zip(HEADER, row, strict=True)
                    if value is not None or name in ("epoch", "batch_size")
                }
            )
            for row in rows
        ]
        yield b"\n".join(lines) + b"\n"


def _csv(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _read_chunks(connection: Connection, run: int) -> Iterator[list[tuple[Any, ...]]]:
    series = {
        row.key: (row.name, Reduction(row.reduction))
        for row in connection.execute(select(SeriesRow.__table__).where(SeriesRow.run == run))
    }
    attempts = {
        row.key: row.started_unix_s
        for row in connection.execute(select(AttemptRow.__table__).where(AttemptRow.run == run))
    }
    # Series by name and attempts by start, as on the page: their keys are by arrival.
    ordered = sorted(itertools.product(series, attempts), key=lambda key: (series[key[0]], attempts[key[1]]))
    for name, attempt in ordered:
        query = select(RecordRow.__table__).where(
            RecordRow.run == run, RecordRow.series == name, RecordRow.attempt == attempt
        )
        # In the order of the key.
        for rows in connection.execute(query.execution_options(yield_per=ROWS_A_CHUNK)).partitions():
            yield [_as_told(row, *series[row.series], attempts[row.attempt]) for row in rows]


def _as_told(row: Any, name: str, reduction: Reduction, attempt: float) -> tuple[Any, ...]:
    own = reduction if row.reduction is None else Reduction(row.reduction)
    return (
        name,
        attempt,
        None if row.epoch < 0 else row.epoch,
        row.pass_no,
        row.batch,
        row.rank,
        row.call,
        wire.encode_number(math.nan if row.loss is None else row.loss),
        row.batch_size,
        row.weight,
        row.divisor,
        row.window_items,
        own.wire_name,
        row.step,
        row.time_unix_s,
    )
