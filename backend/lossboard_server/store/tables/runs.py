"""The tables of runs, their series, attempts and writers, and of login codes."""

from typing import Any

from sqlalchemy import BigInteger, Integer, SmallInteger, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from lossboard_server.store.tables.base import Base, WithoutRowid, in_run

TRAIN_SPLIT = "train/"  # how the names of training series begin
SILENT = "silent"  # a writer that sends records and tells no state
IMPORT_WRITER = "import-"  # how the writer of an import begins; it is none of the run's own


class RunKeyRow(Base):
    """The key of each run's id, never used again: cursors name runs by it.

    A table of its own, since a database that is sharded by the key can't hold ids unique; this
    one is written only when a run is made or deleted, and can stand on every shard.
    """

    __tablename__ = "run_keys"
    __table_args__ = (UniqueConstraint("id", name="uq_run_keys_id"), {"sqlite_autoincrement": True})

    key: Mapped[int] = mapped_column(Integer, primary_key=True, comment="the run in every other table")
    id: Mapped[str] = mapped_column(String(64), comment="made by the client: A-Za-z0-9_-")


class RunRow(Base):
    """A run: one training, with its attempts, ranks and series."""

    __tablename__ = "runs"

    key: Mapped[int] = mapped_column(
        Integer, primary_key=True, autoincrement=False, comment="the run in every other table"
    )
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
    redrawn: Mapped[int] = mapped_column(
        BigInteger, server_default="0", comment="version at which more than new records changed its curves"
    )
    notes: Mapped[str] = mapped_column(Text, server_default="", comment="free text, written on the page")
    colour: Mapped[str | None] = mapped_column(String(7), comment="#rrggbb; null: the palette's")
    edited: Mapped[list[str]] = mapped_column(
        server_default="[]", comment="fields that somebody set, and its client no longer does"
    )
    archived_unix_s: Mapped[float | None] = mapped_column(
        comment="unix s when it was archived; null: it is not"
    )
    deleted_unix_s: Mapped[float | None] = mapped_column(
        comment="unix s; its rows are going, and nothing shows it"
    )


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
    trail: Mapped[list[Any]] = mapped_column(
        server_default="[]", comment="where its newest changes stand: store/writing/trail.py"
    )


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


class LoginCodeRow(Base):
    """A one-time code of a login link; the one table that belongs to no run."""

    __tablename__ = "login_codes"
    __table_args__ = (WithoutRowid,)

    code_hash: Mapped[str] = mapped_column(String(64), primary_key=True, comment="SHA-256 of the code, hex")
    expires_unix_s: Mapped[float] = mapped_column(comment="unix s")
