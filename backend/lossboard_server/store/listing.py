"""Runs as a list and one by one: state, age, counts and a spark for each."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, or_, select

from lossboard_server.domain.omissions import OMISSIONS, split_counts
from lossboard_server.store.attempts import list_attempts
from lossboard_server.store.life import describe_life, list_ranks, states_at
from lossboard_server.store.reading import Epoch, read_epochs, view_summaries
from lossboard_server.store.register import find_run
from lossboard_server.store.series import Series, read_series
from lossboard_server.store.tables import EpochRow, RunRow, WriterRow

SPARK_POINTS = 40


@dataclass(slots=True)
class RunFilter:
    """What a list of runs is narrowed to."""

    state: str | None = None
    project: str | None = None
    search: str | None = None
    limit: int = 100
    offset: int = 0


def list_runs(connection: Connection, wanted: RunFilter, now: float) -> tuple[list[dict[str, Any]], int]:
    """Return a page of runs, newest first, and how many there are in all."""
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
    if wanted.state is not None:
        query = query.where(states_at(now)[wanted.state])
    total = connection.execute(select(func.count()).select_from(query.subquery())).scalar_one()
    rows = connection.execute(query.limit(wanted.limit).offset(wanted.offset)).all()
    ranks = list_ranks(connection, [row.key for row in rows], now)
    return [_describe(connection, row, ranks[row.key], now) for row in rows], total


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
    return _describe(connection, row, list_ranks(connection, [row.key], now)[row.key], now) | {
        "config": row.config,
        "environment": row.environment,
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


def _describe(connection: Connection, row: Any, ranks: dict[str, int], now: float) -> dict[str, Any]:
    series = read_series(connection, row.key, with_steps=False)
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
