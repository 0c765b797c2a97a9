"""The tables. Every primary key of a run's data leads with the run, so that it can be partitioned by it.

Times are unix seconds in UTC. NaN is stored as NULL, since SQLite has no NaN; ±Infinity
as itself.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SILENT = "silent"  # a writer that sends records and tells no state
WithoutRowid = {"sqlite_with_rowid": False}

IS_EXTREME = "loss IS NULL OR loss > 1.79e308 OR loss < -1.79e308"
"""SQL: a record's loss is NaN, infinite or within a hundredth of it. A query must hold this very text."""


class Base(DeclarativeBase):
    """The tables' common metadata: every constraint has a name."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy's own idiom)
        float: Double(),
        dict[str, Any]: JSON(),
        list[str]: JSON(),
    }


def in_run(table: str) -> ForeignKeyConstraint:
    """Tie a table's rows to their run."""
    return ForeignKeyConstraint(["run"], ["runs.key"], name=f"fk_{table}_run_runs", ondelete="CASCADE")


class RunRow(Base):
    """A run: one training, with its attempts, ranks and series."""

    __tablename__ = "runs"
    __table_args__ = (UniqueConstraint("id", name="uq_runs_id"),)

    key: Mapped[int] = mapped_column(Integer, primary_key=True, comment="the run in every other table")
    id: Mapped[str] = mapped_column(String(64), comment="made by the client: A-Za-z0-9_-")
    project: Mapped[str] = mapped_column(String(200), comment="free text")
    name: Mapped[str] = mapped_column(String(200), comment="free text, shown")
    config: Mapped[dict[str, Any]] = mapped_column(comment="what the script said of itself")
    environment: Mapped[dict[str, Any]] = mapped_column(comment="versions, host, commit, command")
    tags: Mapped[list[str]] = mapped_column(comment="free words")
    state: Mapped[str] = mapped_column(String(16), comment="running or how it ended, as told")
    created_unix_s: Mapped[float] = mapped_column(comment="unix s, by the service's clock")
    attempt_unix_s: Mapped[float | None] = mapped_column(comment="start of its newest attempt, as told")
    attempt_seen_unix_s: Mapped[float] = mapped_column(comment="unix s when that attempt was first heard of")
    last_seen_unix_s: Mapped[float] = mapped_column(comment="unix s of its last sign of life")
    last_record_unix_s: Mapped[float | None] = mapped_column(comment="unix s when its last record was logged")
    usual_interval_s: Mapped[float | None] = mapped_column(comment="s between records: domain/pace.py")
    usual_over_s: Mapped[float] = mapped_column(comment="s of records that the interval was learnt from")
    pause_s: Mapped[float] = mapped_column(comment="s, the longest usual pause")
    stalled_after_s: Mapped[float | None] = mapped_column(comment="s without a record; null: not known yet")
    lost_after_s: Mapped[float] = mapped_column(comment="s without a sign of life")
    records: Mapped[int] = mapped_column(BigInteger, comment="rows stored, hidden ones included")
    version: Mapped[int] = mapped_column(BigInteger, comment="bumped by every writing transaction")


class SeriesRow(Base):
    """A series: one loss in one split, with what its number means."""

    __tablename__ = "series"
    __table_args__ = (UniqueConstraint("run", "name", name="uq_series_run"), in_run("series"), WithoutRowid)

    run: Mapped[int] = mapped_column(Integer, primary_key=True)
    key: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(200), comment="split/series, such as train/loss")
    reduction: Mapped[int] = mapped_column(
        SmallInteger, comment="0 mean, 1 sum, 2 sum_over_window, 3 unknown"
    )
    weight_unit: Mapped[str] = mapped_column(String(16), comment="items, elements, tokens, class_weight")
    weight_source: Mapped[str] = mapped_column(
        String(16), comment="exact, probed, declared, assumed, unknown"
    )
    traits: Mapped[dict[str, Any]] = mapped_column(comment="what else is known of its loss: wire.TRAITS")


class AttemptRow(Base):
    """An attempt: one start of the training."""

    __tablename__ = "attempts"
    __table_args__ = (
        UniqueConstraint("run", "started_unix_s", name="uq_attempts_run"),
        in_run("attempts"),
        WithoutRowid,
    )

    run: Mapped[int] = mapped_column(Integer, primary_key=True)
    key: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False, comment="by arrival")
    started_unix_s: Mapped[float] = mapped_column(comment="identifies and orders attempts; 0, 1, … by hand")
    is_declared: Mapped[bool] = mapped_column(comment="told by the client rather than seen in rows")
    start_epoch: Mapped[int | None] = mapped_column(comment="null: position unknown, hides nothing")
    start_batch: Mapped[int] = mapped_column(BigInteger, comment="batch of start_epoch")
    world_size: Mapped[int] = mapped_column(comment="processes of this attempt")


class WriterRow(Base):
    """A writer: one process that sends records, and how far it has come."""

    __tablename__ = "writers"
    __table_args__ = (in_run("writers"), WithoutRowid)

    run: Mapped[int] = mapped_column(Integer, primary_key=True)
    writer: Mapped[str] = mapped_column(String(64), primary_key=True, comment="made by the client")
    rank: Mapped[int] = mapped_column(comment="0 to world size - 1")
    attempt: Mapped[int] = mapped_column(comment="key of its attempt")
    next: Mapped[int] = mapped_column(BigInteger, comment="index of the first record not yet taken")
    gaps: Mapped[int] = mapped_column(BigInteger, comment="records it numbered and never sent")
    state: Mapped[str] = mapped_column(String(16), comment="as runs.state; silent: it never told")
    last_seen_unix_s: Mapped[float] = mapped_column(comment="unix s of its last sign of life")
    dropped: Mapped[dict[str, Any]] = mapped_column(comment="reason to count, as the client told it")


class RecordRow(Base):
    """A record: one evaluation of a loss, as it was sent. Nothing is sampled away."""

    __tablename__ = "records"
    __table_args__ = (
        CheckConstraint("batch >= 0", name="batch"),
        CheckConstraint("epoch >= -1", name="epoch"),
        in_run("records"),
        # The few losses that are not finite, found without reading the others. The bounds are
        # finite, since the two databases spell infinity differently; readers look again.
        Index(
            "ix_records_nonfinite",
            *("run", "series", "epoch", "pass_no", "batch", "rank"),
            sqlite_where=text(IS_EXTREME),
            postgresql_where=text(IS_EXTREME),
        ),
        WithoutRowid,
    )

    run: Mapped[int] = mapped_column(Integer, primary_key=True)
    series: Mapped[int] = mapped_column(Integer, primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True)
    epoch: Mapped[int] = mapped_column(Integer, primary_key=True, comment="-1: undeclared")
    pass_no: Mapped[int] = mapped_column(
        Integer, primary_key=True, comment="n-th pass of its epoch; 0 in training"
    )
    batch: Mapped[int] = mapped_column(BigInteger, primary_key=True, comment="within its epoch or pass")
    rank: Mapped[int] = mapped_column(Integer, primary_key=True)
    call: Mapped[int] = mapped_column(Integer, primary_key=True, comment="n-th record of this batch")
    loss: Mapped[float | None] = mapped_column(comment="as the framework returned it; null: NaN")
    batch_size: Mapped[int | None] = mapped_column(comment="items; null: undeclared")
    weight: Mapped[float | None] = mapped_column(comment="in the series' unit; null: the batch size")
    divisor: Mapped[float | None] = mapped_column(comment="what the loss had been divided by; null: 1")
    window_items: Mapped[float | None] = mapped_column(comment="denominator of a windowed sum")
    reduction: Mapped[int | None] = mapped_column(SmallInteger, comment="where it differs from the series'")
    step: Mapped[int | None] = mapped_column(BigInteger, comment="optimizer steps before it")
    time_unix_s: Mapped[float | None] = mapped_column(comment="unix s of the evaluation")


class SummaryColumns:
    """A summary of records; written in their transaction.

    Each sum has its rounding error beside it (…_low), so that merging stays exact.
    """

    seen: Mapped[int] = mapped_column(BigInteger, comment="records")
    count: Mapped[int] = mapped_column(BigInteger, comment="records that are finite with weight > 0")
    unweighted: Mapped[int] = mapped_column(BigInteger, comment="counted records of undeclared meaning")
    nonfinite: Mapped[int] = mapped_column(BigInteger, comment="records with NaN or ±Infinity")
    empty: Mapped[int] = mapped_column(BigInteger, comment="records with weight 0")
    items: Mapped[int] = mapped_column(BigInteger, comment="Σ batch_size of counted records")
    items_seen: Mapped[int] = mapped_column(BigInteger, comment="Σ batch_size of all records")
    weight: Mapped[float] = mapped_column(comment="Σ w")
    weight_low: Mapped[float] = mapped_column(comment="its rounding error")
    weighted: Mapped[float] = mapped_column(comment="Σ w·m")
    weighted_low: Mapped[float] = mapped_column(comment="its rounding error")
    v: Mapped[float] = mapped_column(comment="Σ v, as returned")
    v_low: Mapped[float] = mapped_column(comment="its rounding error")
    m: Mapped[float] = mapped_column(comment="Σ m, per unit of weight")
    m_low: Mapped[float] = mapped_column(comment="its rounding error")
    sized: Mapped[float] = mapped_column(comment="Σ n·m")
    sized_low: Mapped[float] = mapped_column(comment="its rounding error")
    m2: Mapped[float] = mapped_column(comment="Σ n·(m - size-weighted mean)²")
    low: Mapped[float | None] = mapped_column(comment="least m")
    high: Mapped[float | None] = mapped_column(comment="greatest m")
    batch_size: Mapped[int | None] = mapped_column(comment="nominal: the largest")
    last_batch_size: Mapped[int | None] = mapped_column(comment="of the last batch by position")
    last_batch: Mapped[int] = mapped_column(BigInteger, comment="its position")
    last_rank: Mapped[int] = mapped_column(comment="its rank")
    first_step: Mapped[int | None] = mapped_column(BigInteger, comment="least optimizer step")
    last_step: Mapped[int | None] = mapped_column(BigInteger, comment="greatest optimizer step")
    first_time_unix_s: Mapped[float | None] = mapped_column(comment="unix s of its first record")
    last_time_unix_s: Mapped[float | None] = mapped_column(comment="unix s of its last record")


class EpochRow(SummaryColumns, Base):
    """The summary of one epoch and pass on one rank."""

    __tablename__ = "epochs"
    __table_args__ = (in_run("epochs"), WithoutRowid)

    run: Mapped[int] = mapped_column(Integer, primary_key=True)
    series: Mapped[int] = mapped_column(Integer, primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True)
    epoch: Mapped[int] = mapped_column(Integer, primary_key=True, comment="-1: undeclared")
    pass_no: Mapped[int] = mapped_column(Integer, primary_key=True)
    rank: Mapped[int] = mapped_column(Integer, primary_key=True)
    reduction: Mapped[int] = mapped_column(SmallInteger, comment="of all its records; 3 where they disagree")


class BucketRow(SummaryColumns, Base):
    """The summary of `width` neighbouring batches of training, all ranks; as `epochs`.

    The width stands before the epoch in the key: a curve reads one width of a range of
    epochs, which is one stretch of the table. An epoch has a width's buckets once its
    greatest batch is at least the width (domain/pyramid.py). Training only: validation is drawn
    a point a pass, from `epochs`.
    """

    __tablename__ = "buckets"
    __table_args__ = (in_run("buckets"), WithoutRowid)

    run: Mapped[int] = mapped_column(Integer, primary_key=True)
    series: Mapped[int] = mapped_column(Integer, primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True)
    width: Mapped[int] = mapped_column(Integer, primary_key=True, comment="batches: 16, 64, 256, …")
    epoch: Mapped[int] = mapped_column(Integer, primary_key=True, comment="-1: undeclared")
    pass_no: Mapped[int] = mapped_column(Integer, primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, comment="of the bucket: batch ÷ width")


class LoginCodeRow(Base):
    """A one-time code of a login link; the one table that belongs to no run."""

    __tablename__ = "login_codes"
    __table_args__ = (WithoutRowid,)

    code_hash: Mapped[str] = mapped_column(String(64), primary_key=True, comment="SHA-256 of the code, hex")
    expires_unix_s: Mapped[float] = mapped_column(comment="unix s")
