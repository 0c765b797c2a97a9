"""Runs as a list and one by one: state, age, counts and a spark for each."""

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, or_, select

from lossboard_server.domain.omissions import OMISSIONS, split_counts
from lossboard_server.errors import RunNotFound
from lossboard_server.store.progress import LOST_AFTER_S
from lossboard_server.store.reading import Epoch, read_epochs, view_summaries
from lossboard_server.store.series import Series, read_series
from lossboard_server.store.tables import AttemptRow, EpochRow, RecordRow, RunRow, WriterRow

SPARK_POINTS = 40


@dataclass(slots=True)
class RunFilter:
    """What a list of runs is narrowed to."""

    state: str | None = None
    project: str | None = None
    search: str | None = None
    limit: int = 100
    offset: int = 0


def list_runs(connection: Connection, wanted: RunFilter) -> tuple[list[dict[str, Any]], int]:
    """Return a page of runs, newest first, and how many there are in all."""
    now = time.time()
    query = select(RunRow.__table__).order_by(RunRow.created_unix_s.desc(), RunRow.key.desc())
    if wanted.project is not None:
        query = query.where(RunRow.project == wanted.project)
    if wanted.search:
        query = query.where(
            or_(
                RunRow.name.icontains(wanted.search, autoescape=True),
                RunRow.id.icontains(wanted.search, autoescape=True),
            )
        )
    if wanted.state in ("running", "lost"):
        is_seen = RunRow.last_seen_unix_s >= now - LOST_AFTER_S
        query = query.where(RunRow.state == "running", is_seen if wanted.state == "running" else ~is_seen)
    elif wanted.state is not None:
        query = query.where(RunRow.state == wanted.state)
    total = connection.execute(select(func.count()).select_from(query.subquery())).scalar_one()
    rows = connection.execute(query.limit(wanted.limit).offset(wanted.offset)).all()
    return [_describe(connection, row, now) for row in rows], total


def show_run(connection: Connection, run_id: str) -> dict[str, Any]:
    """Return one run with its attempts, writers and series.

    Raises: RunNotFound.
    """
    now = time.time()
    row = connection.execute(select(RunRow.__table__).where(RunRow.id == run_id)).first()
    if row is None:
        raise RunNotFound(f"There is no run {run_id}.")
    counts = _count_series(connection, row.key)
    series: list[dict[str, Any]] = [
        {
            "series": each.name,
            "reduction": each.reduction.wire_name,
            "weight_unit": each.weight_unit,
            "weight_source": each.weight_source,
            "traits": each.traits,
            **counts.get(each.key, {"records": 0, "nonfinite": 0, "empty": 0}),
        }
        for each in read_series(connection, row.key, with_steps=False)
    ]
    writers = connection.execute(select(WriterRow.__table__).where(WriterRow.run == row.key)).all()
    counted: Counter[str] = Counter()
    for writer in writers:
        counted.update(writer.dropped)
    dropped, left_out = split_counts(counted)
    return _describe(connection, row, now) | {
        "config": row.config,
        "environment": row.environment,
        "attempts": _attempts(connection, row.key),
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
            "nonfinite": sum(each["nonfinite"] for each in series),
            "empty": sum(each["empty"] for each in series),
            "gaps": sum(writer.gaps for writer in writers),
            "dropped": dropped,
            "left_out": left_out,
            "reasons": {reason: OMISSIONS[reason] for reason in left_out},
        },
    }


def state_of(row: Any, now: float) -> str:
    """Return a run's state: as its writers told it, or lost where they fell silent."""
    if row.state == "running" and row.last_seen_unix_s < now - LOST_AFTER_S:
        return "lost"
    return str(row.state)


def _describe(connection: Connection, row: Any, now: float) -> dict[str, Any]:
    series = read_series(connection, row.key, with_steps=False)
    described: dict[str, Any] = {
        "run": row.id,
        "project": row.project,
        "name": row.name,
        "state": state_of(row, now),
        "created_unix_s": row.created_unix_s,
        "last_record_unix_s": row.last_record_unix_s,
        "last_record_age_s": None
        if row.last_record_unix_s is None
        else max(0.0, now - row.last_record_unix_s),
        "records": row.records,
        "series": [each.name for each in series],
        "tags": row.tags,
        "batch_size": None,
        "epoch": None,
        "per_item": None,
        "weight_unit": "items",
        "weight_source": "unknown",
        "reduction": "unknown",
        "traits": {},
        "spark": [],
    }
    if series:
        described |= _describe_series(connection, series[0])
    return described


def _describe_series(connection: Connection, series: Series) -> dict[str, Any]:
    epochs = read_epochs(connection, series, at_most=SPARK_POINTS)
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


def _attempts(connection: Connection, run: int) -> list[dict[str, Any]]:
    counted = (
        select(RecordRow.attempt, func.count().label("records"))
        .where(RecordRow.run == run)
        .group_by(RecordRow.attempt)
    )
    records = {row.attempt: row.records for row in connection.execute(counted)}
    query = select(AttemptRow.__table__).where(AttemptRow.run == run).order_by(AttemptRow.started_unix_s)
    return [
        {
            "attempt": number,
            "started_unix_s": row.started_unix_s,
            "start_epoch": row.start_epoch,
            "start_batch": row.start_batch,
            "world_size": row.world_size,
            "records": records.get(row.key, 0),
        }
        for number, row in enumerate(connection.execute(query), start=1)
    ]
