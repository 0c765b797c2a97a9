"""A whole run on its way in: made as it was where it came from; its records come as any writer's do."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, update

from lossboard_server.domain.changes import Change
from lossboard_server.domain.meaning import Reduction
from lossboard_server.domain.run_state import FINISHED
from lossboard_server.errors import Conflict, RunNotFound
from lossboard_server.store.keeping.exporting import RUN_COLUMNS
from lossboard_server.store.tables import SILENT, AttemptRow, EpochRow, RunRow, SeriesRow, WriterRow
from lossboard_server.store.writing.deliveries import RunSpec
from lossboard_server.store.writing.life import LIFE, NEVER
from lossboard_server.store.writing.register import find_run, open_attempts, register_run

_AT_THE_END = frozenset({"state", *(column.key for column in LIFE)})
"""What records that come in would change: it is set behind them."""


@dataclass(slots=True)
class Import:
    """What an import says of itself; the same file into the same run says the same each time.

    `about` None: the records came without it, from elsewhere. `attempt` and `rank` are those that
    its writer goes by, each row has its own.
    """

    writer: str
    records: int
    attempt: float
    rank: int
    about: dict[str, Any] | None = None


class Stand(NamedTuple):
    """How far an import has come: the record it expects next, and whether all is done."""

    next: int
    is_finished: bool


def begin_import(connection: Connection, run_id: str, told: Import, now: float) -> tuple[Stand, list[Change]]:
    """Make the run, or find how far this very import had come when it broke off.

    Raises: Conflict where the run has records of others.
    """
    try:
        run = find_run(connection, run_id)
    except RunNotFound:
        register_run(connection, run_id, RunSpec(), now)
        run = find_run(connection, run_id)
    where = (WriterRow.run == run.key, WriterRow.writer == told.writer)
    known = connection.execute(select(WriterRow.next).where(*where)).scalar()
    if known is not None:
        return Stand(min(known, told.records), known > told.records), []
    records = connection.execute(select(RunRow.records).where(RunRow.key == run.key)).scalar_one()
    others = connection.execute(select(func.count()).where(WriterRow.run == run.key)).scalar_one()
    if records or others:
        raise Conflict(f"There is a run {run_id} already, with {records:,} records. --as takes another id.")
    if told.about is not None:
        _describe(connection, run.key, told.about)
    if told.records or (told.about or {}).get("attempts"):
        attempt = open_attempts(connection, run.key, {told.attempt: ()})[told.attempt]
        row = {"run": run.key, "writer": told.writer, "rank": told.rank, "attempt": attempt}
        fresh = {"next": 0, "gaps": 0, "state": SILENT, "last_seen_unix_s": NEVER, "dropped": {}}
        connection.execute(insert(WriterRow), row | fresh)
    version = run.version + 1
    connection.execute(update(RunRow).where(RunRow.key == run.key).values(version=version))
    return Stand(0, False), [Change(run_id, version=version, is_about_run=True, key=run.key)]


def finish_import(connection: Connection, run_id: str, told: Import) -> tuple[Stand, list[Change]]:
    """Set what came with the records of the run's life, its end and its writers.

    Raises: RunNotFound; Conflict where records are missing.
    """
    run = find_run(connection, run_id)
    where = (WriterRow.run == run.key, WriterRow.writer == told.writer)
    known = connection.execute(select(WriterRow.next).where(*where)).scalar() or 0
    if known > told.records:
        return Stand(told.records, True), []
    if known < told.records:
        raise Conflict(f"{known:,} of {told.records:,} records have come. Import the file again: it goes on.")
    # One beyond its last record: what says that it is done, also to the same import tried again.
    connection.execute(update(WriterRow).where(*where).values(next=told.records + 1, last_seen_unix_s=NEVER))
    if told.about is None:
        last = connection.execute(
            select(func.max(EpochRow.last_time_unix_s)).where(EpochRow.run == run.key)
        ).scalar()
        values = {"state": FINISHED, "last_record_unix_s": last}
    else:
        values = {name: told.about[name] for name in RUN_COLUMNS if name in _AT_THE_END}
        _put_writers(connection, run.key, told.about["writers"])
    version = run.version + 1
    values |= {"version": version, "redrawn": version}
    connection.execute(update(RunRow).where(RunRow.key == run.key).values(values))
    names = connection.execute(select(SeriesRow.name).where(SeriesRow.run == run.key)).scalars()
    return Stand(told.records, True), [Change(run_id, set(names), version, is_about_run=True, key=run.key)]


def _describe(connection: Connection, key: int, about: dict[str, Any]) -> None:
    """Set what is known of a run that has no records; what was declared of it before gives way."""
    connection.execute(delete(SeriesRow).where(SeriesRow.run == key))
    connection.execute(delete(AttemptRow).where(AttemptRow.run == key))
    values = {name: about[name] for name in RUN_COLUMNS if name not in _AT_THE_END}
    connection.execute(update(RunRow).where(RunRow.key == key).values(values))
    series = [
        {"run": key, "key": number, "name": name, "trail": []}
        | {**meaning, "reduction": int(Reduction.named(meaning["reduction"]))}
        for number, (name, meaning) in enumerate(about["series"].items())
    ]
    attempts = [{"run": key, "key": number} | row for number, row in enumerate(about["attempts"])]
    for table, rows in ((SeriesRow, series), (AttemptRow, attempts)):
        if rows:
            connection.execute(insert(table), rows)


def _put_writers(connection: Connection, key: int, writers: list[dict[str, Any]]) -> None:
    rows = connection.execute(select(AttemptRow.started_unix_s, AttemptRow.key).where(AttemptRow.run == key))
    attempts = {started: attempt for started, attempt in rows}  # noqa: C416 (a row is no pair to mypy)
    values = [{"run": key} | row | {"attempt": attempts[row["attempt"]]} for row in writers]
    if values:
        connection.execute(insert(WriterRow), values)
