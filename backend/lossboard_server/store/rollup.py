"""Epoch summaries in the database: reading one back, and merging new records into it."""

from typing import Any

from sqlalchemy import Connection, insert, select, tuple_, update

from lossboard_server.domain.meaning import Reduction
from lossboard_server.domain.summary import Summary, merge
from lossboard_server.store.tables import EpochRow

Key = tuple[int, int, int, int, int]
"""(series, attempt, epoch, pass_no, rank)."""

_table = EpochRow.__table__.c
_key_columns = (_table.series, _table.attempt, _table.epoch, _table.pass_no, _table.rank)
SUMS = ("weight", "weighted", "v", "m", "sized")
PLAIN = (
    "seen count unweighted nonfinite empty items items_seen m2 low high batch_size last_batch_size "
    "last_batch last_rank last_step"
).split()
COLUMNS = (
    *_key_columns,
    _table.reduction,
    *(_table[name] for name in PLAIN),
    *(_table[name] for sum_name in SUMS for name in (sum_name, f"{sum_name}_low")),
    _table.first_time_unix_s,
    _table.last_time_unix_s,
)
MAX_KEYS_A_QUERY = 100  # SQLite's limit of bound values is 999 in old builds: 5 a key


def read_summary(row: Any) -> Summary:
    """Rebuild the summary of a row selected with COLUMNS."""
    found = row._mapping
    values: dict[str, Any] = {name: found[name] for name in PLAIN}
    values |= {name: (found[name], found[f"{name}_low"]) for name in SUMS}
    return Summary(**values, first_time=found["first_time_unix_s"], last_time=found["last_time_unix_s"])


def merge_into(connection: Connection, run: int, fresh: dict[Key, tuple[Reduction, Summary]]) -> None:
    """Merge summaries of new records into the stored ones, in the records' transaction."""
    stored = _read_stored(connection, run, list(fresh))
    made: list[dict[str, Any]] = []
    for key, (reduction, summary) in fresh.items():
        before = stored.get(key)
        if before is None:
            made.append(_row(run, key, reduction, summary))
            continue
        known, earlier = before
        values = _row(run, key, known if known == reduction else Reduction.UNKNOWN, merge(earlier, summary))
        where = [column == part for column, part in zip(_key_columns, key, strict=True)]
        connection.execute(update(EpochRow).where(_table.run == run, *where).values(values))
    if made:
        connection.execute(insert(EpochRow), made)


def _read_stored(connection: Connection, run: int, keys: list[Key]) -> dict[Key, tuple[Reduction, Summary]]:
    found: dict[Key, tuple[Reduction, Summary]] = {}
    for first in range(0, len(keys), MAX_KEYS_A_QUERY):
        part = keys[first : first + MAX_KEYS_A_QUERY]
        query = select(*COLUMNS).where(_table.run == run, tuple_(*_key_columns).in_(part))
        for row in connection.execute(query):
            key = (row.series, row.attempt, row.epoch, row.pass_no, row.rank)
            found[key] = (Reduction(row.reduction), read_summary(row))
    return found


def _row(run: int, key: Key, reduction: Reduction, summary: Summary) -> dict[str, Any]:
    series, attempt, epoch, pass_no, rank = key
    values: dict[str, Any] = {name: getattr(summary, name) for name in PLAIN}
    for name in SUMS:
        values[name], values[f"{name}_low"] = getattr(summary, name)
    values["first_time_unix_s"] = summary.first_time
    values["last_time_unix_s"] = summary.last_time
    position = {"series": series, "attempt": attempt, "epoch": epoch, "pass_no": pass_no, "rank": rank}
    return {"run": run, "reduction": int(reduction), **position, **values}
