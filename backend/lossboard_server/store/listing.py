"""Runs as a list and one by one: state, age, counts and a spark for each."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Text, cast, func, or_, select
from sqlalchemy.exc import DatabaseError

from lossboard_server.domain.omissions import OMISSIONS, split_counts
from lossboard_server.store.attempts import list_attempts
from lossboard_server.store.files.sqlite_faults import is_damage
from lossboard_server.store.keeping.sizes import measure_room
from lossboard_server.store.reading.budget import Memo
from lossboard_server.store.reading.epochs import Epoch, read_spread_epochs, view_summaries
from lossboard_server.store.reading.series import Series, read_series
from lossboard_server.store.tables import EpochRow, RunRow, WriterRow
from lossboard_server.store.writing.life import describe_life, list_ranks, states_at
from lossboard_server.store.writing.register import find_run

SPARK_POINTS = 40

ORDERS: Final[dict[str, tuple[ColumnElement[Any], ...]]] = {
    "newest": (RunRow.created_unix_s.desc(),),
    "oldest": (RunRow.created_unix_s.asc(),),
    "active": (func.coalesce(RunRow.last_record_unix_s, RunRow.created_unix_s).desc(),),
    "name": (func.lower(RunRow.name), RunRow.created_unix_s.desc()),
    "records": (RunRow.records.desc(),),
}
"""What a list of runs may be ordered by; ties go by age, the newest first."""

UNTOLD: Final[dict[str, Any]] = {
    "series": [],
    "batch_size": None,
    "epoch": None,
    "per_item": None,
    "weight_unit": "items",
    "weight_source": "unknown",
    "reduction": "unknown",
    "traits": {},
    "spark": [],
    "damaged": False,
}
"""What is told of the records of a run that has none."""


@dataclass(slots=True)
class RunFilter:
    """What a list of runs is narrowed to."""

    state: str | None = None
    project: str | None = None
    search: str | None = None
    archived: str | None = None
    """None: without the archived ones; `only` these; `with` them."""
    order: str = "newest"
    limit: int = 100
    offset: int = 0


def list_runs(
    connection: Connection,
    wanted: RunFilter,
    now: float,
    memo: Memo | None = None,
    note: Callable[[BaseException], object] = lambda _: None,
) -> tuple[list[dict[str, Any]], int]:
    """Return a page of runs and how many there are in all.

    `memo` keeps what their records tell; `note` is told why a run's can't be read.
    """
    memo = memo or Memo(wanted.limit)
    query = select(RunRow.__table__).where(RunRow.deleted_unix_s.is_(None))
    query = query.order_by(*ORDERS[wanted.order], RunRow.key.desc())
    if wanted.archived != "with":
        is_archived = RunRow.archived_unix_s.is_not(None)
        query = query.where(is_archived if wanted.archived == "only" else ~is_archived)
    if wanted.project is not None:
        query = query.where(RunRow.project == wanted.project)
    for word in (wanted.search or "").split():
        fields = (RunRow.name, RunRow.id, RunRow.project, RunRow.notes, cast(RunRow.tags, Text))
        query = query.where(or_(*(field.icontains(word, autoescape=True) for field in fields)))
    if wanted.state is not None:
        query = query.where(states_at(now)[wanted.state])
    total = connection.execute(select(func.count()).select_from(query.subquery())).scalar_one()
    rows = connection.execute(query.limit(wanted.limit).offset(wanted.offset)).all()
    ranks = list_ranks(connection, [row.key for row in rows], now)
    return [_describe(connection, row, ranks[row.key], now, memo, note) for row in rows], total


def count_archived(connection: Connection) -> int:
    """Return how many runs are archived, whatever a list is narrowed to."""
    is_archived = RunRow.archived_unix_s.is_not(None) & RunRow.deleted_unix_s.is_(None)
    return connection.execute(select(func.count()).where(is_archived)).scalar_one()


def show_run(connection: Connection, run_id: str, now: float) -> dict[str, Any]:
    """Return one run with its attempts, writers and series.

    Raises: RunNotFound.
    """
    key = find_run(connection, run_id).key
    row = connection.execute(select(RunRow.__table__).where(RunRow.key == key)).one()
    counts = _count_series(connection, row.key)
    all_series = read_series(connection, row.key, with_steps=False)
    series: list[dict[str, Any]] = [
        {
            "series": each.name,
            "reduction": each.reduction.wire_name,
            "weight_unit": each.weight_unit,
            "weight_source": each.weight_source,
            "traits": each.traits,
            **counts.get(each.key, {"records": 0, "nonfinite": 0, "empty": 0}),
        }
        for each in all_series
    ]
    attempts = list_attempts(connection, row.key, all_series, now)
    writers = connection.execute(select(WriterRow.__table__).where(WriterRow.run == row.key)).all()
    counted: Counter[str] = Counter()
    for writer in writers:
        counted.update(writer.dropped)
    dropped, left_out = split_counts(counted)
    ranks = list_ranks(connection, [row.key], now)[row.key]
    return _describe(connection, row, ranks, now, Memo(1), lambda _: None) | {
        "config": row.config,
        "environment": row.environment,
        "notes": row.notes,
        "edited": row.edited,
        "stored": {"records": row.records, "bytes": measure_room(connection).share(row.records)},
        "attempts": attempts,
        "writers": [
            {
                "writer": writer.writer,
                "rank": writer.rank,
                "next": writer.next,
                "gaps": writer.gaps,
                "state": writer.state,
                "dropped": writer.dropped,
            }
            for writer in writers
        ],
        "series": series,
        "counts": {
            "records": row.records,
            "hidden": sum(each["hidden"] for each in attempts),
            "nonfinite": sum(each["nonfinite"] for each in series),
            "empty": sum(each["empty"] for each in series),
            "gaps": sum(writer.gaps for writer in writers),
            "dropped": dropped,
            "left_out": left_out,
            "reasons": {reason: OMISSIONS[reason] for reason in left_out},
        },
    }


def _describe(
    connection: Connection,
    row: Any,
    ranks: dict[str, int],
    now: float,
    memo: Memo,
    note: Callable[[BaseException], object],
) -> dict[str, Any]:
    life = describe_life(row, now)
    described: dict[str, Any] = {
        "run": row.id,
        "project": row.project,
        "name": row.name,
        "state": life.state,
        "state_holds_s": life.holds_s,
        "ranks": ranks,
        "created_unix_s": row.created_unix_s,
        "last_record_unix_s": row.last_record_unix_s,
        "last_record_age_s": None
        if row.last_record_unix_s is None
        else max(0.0, now - row.last_record_unix_s),
        "last_seen_age_s": life.silent_s,
        "usual_interval_s": row.usual_interval_s,
        "stalled_after_s": row.stalled_after_s,
        "lost_after_s": row.lost_after_s,
        "records": row.records,
        "tags": row.tags,
        "colour": row.colour,
        "archived_unix_s": row.archived_unix_s,
    }
    try:
        # Whatever changes a run's records or their meaning makes it another version.
        recorded = memo.find(("listed", row.key, row.version), lambda: _describe_records(connection, row.key))
    except DatabaseError as error:
        if not is_damage(error):
            raise
        note(error)
        recorded = UNTOLD | {"damaged": True}  # the others can be listed
    return described | recorded


def _describe_records(connection: Connection, run: int) -> dict[str, Any]:
    """Return what a run's records tell of it: they are those of its first series."""
    series = read_series(connection, run, with_steps=False)
    described = UNTOLD | {"series": [each.name for each in series]}
    return described | _describe_series(connection, series[0]) if series else described


def _describe_series(connection: Connection, series: Series) -> dict[str, Any]:
    epochs = read_spread_epochs(connection, series, SPARK_POINTS)
    meaning = {
        "reduction": series.reduction.wire_name,
        "weight_unit": series.weight_unit,
        "weight_source": series.weight_source,
        "traits": series.traits,
    }
    if not epochs:
        return meaning
    spark = [_level(epoch) for epoch in epochs][-SPARK_POINTS:]
    merged = view_summaries(epochs[-1]).merged
    return meaning | {
        "batch_size": merged.batch_size,
        "epoch": epochs[-1].epoch if epochs[-1].is_declared else None,
        "per_item": spark[-1],
        "spark": spark,
    }


def _level(epoch: Epoch) -> float | None:
    views = view_summaries(epoch)
    return views.per_item if views.per_item is not None else views.merged.mean


def _count_series(connection: Connection, run: int) -> dict[int, dict[str, int]]:
    query = (
        select(
            EpochRow.series,
            func.sum(EpochRow.seen).label("records"),
            func.sum(EpochRow.nonfinite).label("nonfinite"),
            func.sum(EpochRow.empty).label("empty"),
        )
        .where(EpochRow.run == run)
        .group_by(EpochRow.series)
    )
    return {
        row.series: {"records": int(row.records), "nonfinite": int(row.nonfinite), "empty": int(row.empty)}
        for row in connection.execute(query)
    }
