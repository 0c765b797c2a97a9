"""Checking a database: its file, its runs, and every summary against the rows; and making summaries anew."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, delete, func, select, text, update

from lossboard_server.domain.agreement import agrees, agrees_as_bucket
from lossboard_server.domain.epoch_pyramid import EpochBucket
from lossboard_server.domain.meaning import Reduction
from lossboard_server.domain.summary import Summary
from lossboard_server.store.checks.recount import Recounted, recount
from lossboard_server.store.database import put_tuples
from lossboard_server.store.files.refusals import UnusableDatabase
from lossboard_server.store.migrating import HEAD
from lossboard_server.store.summaries.epoch_tier import put_epoch_buckets, read_epoch_buckets
from lossboard_server.store.summaries.rollup import BUCKETS, EPOCHS, read_stored, summary_values
from lossboard_server.store.tables import IMPORT_WRITER, EpochBucketRow, RunKeyRow, RunRow, WriterRow

AT_ONCE = 500  # summaries, compared or written
REBUILD = "`lossboard doctor --rebuild` makes them anew from the records."
RESTORE = (
    "Put a file of `lossboard backup` in its place; without one, `lossboard export` what can still be read."
)
_EPOCH_BUCKETS: Table = EpochBucketRow.__table__  # type: ignore[assignment]
_RUNS = select(RunRow.key, RunRow.id, RunRow.records).where(RunRow.deleted_unix_s.is_(None))
_TABLES = (EPOCHS.table, BUCKETS.table, _EPOCH_BUCKETS)

OnRows = Callable[[int], None]


class Finding(NamedTuple):
    """Something that is wrong, and what to do about it."""

    what: str
    remedy: str


def check_revision(connection: Connection) -> None:
    """Refuse a database whose tables are not this release's.

    Raises: UnusableDatabase.
    """
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found != HEAD:
        raise UnusableDatabase(
            f"The database is at version {found}, and this Lossboard's is {HEAD}. "
            "`lossboard serve` brings it there; ask again then."
        )


def check_file(connection: Connection) -> Iterator[Finding]:
    """Check a SQLite file page by page; PostgreSQL does that by itself.

    Cost: reads the whole file.
    """
    if connection.dialect.name != "sqlite":
        return
    for (said,) in connection.exec_driver_sql("PRAGMA integrity_check").all():
        if said != "ok":
            yield Finding(f"SQLite says: {said}", RESTORE)
    orphans: dict[tuple[str, str], int] = {}
    for table, _, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check").all():
        orphans[table, parent] = orphans.get((table, parent), 0) + 1
    for (table, parent), count in orphans.items():
        yield Finding(f"{count:,} rows of {table} belong to nothing in {parent}", RESTORE)


def list_runs(connection: Connection) -> list[Any]:
    """Return the runs that are not being deleted, as rows with key, id and records."""
    return list(connection.execute(_RUNS.order_by(RunRow.key)).all())


def check_run(connection: Connection, key: int, on_rows: OnRows) -> Iterator[Finding]:
    """Check a run: its key, its counts, and each summary against its rows; nothing where it is gone.

    `on_rows` hears how many rows were read, chunk by chunk.
    """
    run = connection.execute(_RUNS.where(RunRow.key == key)).first()
    if run is None:
        return
    known = connection.execute(select(RunKeyRow.id).where(RunKeyRow.key == run.key)).scalar()
    if known != run.id:
        yield Finding(f"{run.id}: its id is not found by its key", RESTORE)
    missing = dict.fromkeys(_TABLES, 0)
    wrong = dict.fromkeys(_TABLES, 0)
    told = dict.fromkeys(_TABLES, 0)
    records = 0
    for group in _groups(recount(connection, run.key, on_rows)):
        for one, stored in _beside_stored(connection, run.key, group):
            table = _EPOCH_BUCKETS if one.tier is None else one.tier.table
            told[table] += 1
            missing[table] += stored is None
            wrong[table] += stored is not None and not _is_same(one, stored)
            if one.tier is EPOCHS and isinstance(one.summary, Summary):
                records += one.summary.seen
    for table in _TABLES:
        of = f"of {told[table]:,} {table.name}"
        more = _count(connection, table, run.key) - (told[table] - missing[table])
        if wrong[table]:
            yield Finding(f"{run.id}: {wrong[table]:,} {of} differ from their records", REBUILD)
        if missing[table]:
            yield Finding(f"{run.id}: {missing[table]:,} {of} are missing", REBUILD)
        if more:
            yield Finding(f"{run.id}: {more:,} {table.name} are of no records", REBUILD)
    if records != run.records:
        yield Finding(f"{run.id}: counts {run.records:,} records, and has {records:,}", REBUILD)
    yield from _check_writers(connection, run, records)


def rebuild_run(connection: Connection, run: int, on_rows: OnRows) -> None:
    """Make a run's summaries and its count anew from its rows, in the caller's transaction."""
    # On PostgreSQL a replica may be storing records of this very run.
    connection.execute(select(RunRow.key).where(RunRow.key == run).with_for_update())
    for table in _TABLES:
        connection.execute(delete(table).where(table.c.run == run))
    records = 0
    for group in _groups(recount(connection, run, on_rows)):
        for tier in (EPOCHS, BUCKETS):
            rows = [_row(run, one) for one in group if one.tier is tier]
            if rows:
                put_tuples(connection, tier.table.name, ("run", *tier.names), ("run", *tier.keys), rows)
        put_epoch_buckets(
            connection,
            run,
            ((one.key, one.summary) for one in group if isinstance(one.summary, EpochBucket)),
        )
        records += sum(
            one.summary.seen for one in group if one.tier is EPOCHS and isinstance(one.summary, Summary)
        )
    version = RunRow.version + 1
    values = {"records": records, "version": version, "redrawn": version}
    connection.execute(update(RunRow).where(RunRow.key == run).values(values))


def _groups(found: Iterator[Recounted]) -> Iterator[list[Recounted]]:
    while group := list(islice(found, AT_ONCE)):
        yield group


def _beside_stored(
    connection: Connection, run: int, group: list[Recounted]
) -> Iterator[tuple[Recounted, tuple[Reduction | None, Summary] | EpochBucket | None]]:
    for tier in (EPOCHS, BUCKETS):
        stored = read_stored(connection, tier, run, [one.key for one in group if one.tier is tier])
        yield from ((one, stored.get(one.key)) for one in group if one.tier is tier)
    for one in group:
        if one.tier is None:
            series, attempt, width, number = one.key
            yield one, read_epoch_buckets(connection, run, series, attempt, width, number, number).get(number)


def _is_same(one: Recounted, stored: tuple[Reduction | None, Summary] | EpochBucket) -> bool:
    if isinstance(one.summary, EpochBucket):
        return isinstance(stored, EpochBucket) and agrees_as_bucket(one.summary, stored)
    return (
        not isinstance(stored, EpochBucket) and one.reduction == stored[0] and agrees(one.summary, stored[1])
    )


def _row(run: int, one: Recounted) -> tuple[Any, ...]:
    assert isinstance(one.summary, Summary)
    reduction = () if one.reduction is None else (int(one.reduction),)
    return (run, *one.key, *reduction, *summary_values(one.summary))


def _count(connection: Connection, table: Table, run: int) -> int:
    return int(connection.execute(select(func.count()).where(table.c.run == run)).scalar_one())


def _check_writers(connection: Connection, run: Any, records: int) -> Iterator[Finding]:
    """Compare what writers were told is stored with what is there; rows typed by hand have no writer."""
    query = select(WriterRow.writer, WriterRow.next, WriterRow.gaps).where(WriterRow.run == run.key)
    writers = connection.execute(query).all()
    # An import brings the records of the run's own writers with their marks; its own is one beyond the last.
    imported = sum(following - 1 for name, following, _ in writers if name.startswith(IMPORT_WRITER))
    own = sum(following - gaps for name, following, gaps in writers if not name.startswith(IMPORT_WRITER))
    told = max(own, imported)
    if any(gaps > following for _, following, gaps in writers):
        yield Finding(f"{run.id}: a writer's gaps are more than what it sent", RESTORE)
    elif told > records:
        yield Finding(f"{run.id}: {told:,} records were acknowledged, and {records:,} are there", RESTORE)
