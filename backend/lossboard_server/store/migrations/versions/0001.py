"""The first tables: runs, series, attempts, writers, records, epochs, buckets, login codes."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

PARTITIONS = 16  # of the records, on PostgreSQL: vacuum and indexes work on a sixteenth at a time


def upgrade() -> None:
    """Make the first release's tables."""
    op.create_table(
        "login_codes",
        sa.Column("code_hash", sa.String(length=64), nullable=False, comment="SHA-256 of the code, hex"),
        sa.Column("expires_unix_s", sa.Double(), nullable=False, comment="unix s"),
        sa.PrimaryKeyConstraint("code_hash", name="pk_login_codes"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "runs",
        sa.Column("key", sa.Integer(), nullable=False, comment="the run in every other table"),
        sa.Column("id", sa.String(length=64), nullable=False, comment="made by the client: A-Za-z0-9_-"),
        sa.Column("project", sa.String(length=200), nullable=False, comment="free text"),
        sa.Column("name", sa.String(length=200), nullable=False, comment="free text, shown"),
        sa.Column("config", sa.JSON(), nullable=False, comment="what the script said of itself"),
        sa.Column("environment", sa.JSON(), nullable=False, comment="versions, host, commit, command"),
        sa.Column("tags", sa.JSON(), nullable=False, comment="free words"),
        sa.Column(
            "state",
            sa.String(length=16),
            nullable=False,
            comment="running or how it ended, as told",
        ),
        sa.Column(
            "created_unix_s",
            sa.Double(),
            nullable=False,
            comment="unix s, by the service's clock",
        ),
        sa.Column(
            "attempt_unix_s",
            sa.Double(),
            nullable=True,
            comment="start of its newest attempt, as told",
        ),
        sa.Column(
            "attempt_seen_unix_s",
            sa.Double(),
            nullable=False,
            comment="unix s when that attempt was first heard of",
        ),
        sa.Column("last_seen_unix_s", sa.Double(), nullable=False, comment="unix s of its last sign of life"),
        sa.Column(
            "last_record_unix_s", sa.Double(), nullable=True, comment="unix s when its last record was logged"
        ),
        sa.Column(
            "usual_interval_s", sa.Double(), nullable=True, comment="s between records: domain/pace.py"
        ),
        sa.Column(
            "usual_over_s",
            sa.Double(),
            nullable=False,
            comment="s of records that the interval was learnt from",
        ),
        sa.Column("pause_s", sa.Double(), nullable=False, comment="s, the longest usual pause"),
        sa.Column(
            "stalled_after_s", sa.Double(), nullable=True, comment="s without a record; null: not known yet"
        ),
        sa.Column("lost_after_s", sa.Double(), nullable=False, comment="s without a sign of life"),
        sa.Column("records", sa.BigInteger(), nullable=False, comment="rows stored, hidden ones included"),
        sa.Column("version", sa.BigInteger(), nullable=False, comment="bumped by every writing transaction"),
        sa.PrimaryKeyConstraint("key", name="pk_runs"),
        sa.UniqueConstraint("id", name="uq_runs_id"),
    )
    op.create_table(
        "attempts",
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("key", sa.Integer(), autoincrement=False, nullable=False, comment="by arrival"),
        sa.Column(
            "started_unix_s",
            sa.Double(),
            nullable=False,
            comment="identifies and orders attempts; 0, 1, … by hand",
        ),
        sa.Column(
            "is_declared", sa.Boolean(), nullable=False, comment="told by the client rather than seen in rows"
        ),
        sa.Column(
            "start_epoch", sa.Integer(), nullable=True, comment="null: position unknown, hides nothing"
        ),
        sa.Column("start_batch", sa.BigInteger(), nullable=False, comment="batch of start_epoch"),
        sa.Column("world_size", sa.Integer(), nullable=False, comment="processes of this attempt"),
        sa.ForeignKeyConstraint(["run"], ["runs.key"], name="fk_attempts_run_runs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run", "key", name="pk_attempts"),
        sa.UniqueConstraint("run", "started_unix_s", name="uq_attempts_run"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "epochs",
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("series", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False, comment="-1: undeclared"),
        sa.Column("pass_no", sa.Integer(), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column(
            "reduction",
            sa.SmallInteger(),
            nullable=False,
            comment="of all its records; 3 where they disagree",
        ),
        *_summary_columns(),
        sa.ForeignKeyConstraint(["run"], ["runs.key"], name="fk_epochs_run_runs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run", "series", "attempt", "epoch", "pass_no", "rank", name="pk_epochs"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "buckets",
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("series", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False, comment="batches: 16, 64, 256, …"),
        sa.Column("epoch", sa.Integer(), nullable=False, comment="-1: undeclared"),
        sa.Column("pass_no", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False, comment="of the bucket: batch ÷ width"),
        *_summary_columns(),
        sa.ForeignKeyConstraint(["run"], ["runs.key"], name="fk_buckets_run_runs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint(
            "run", "series", "attempt", "width", "epoch", "pass_no", "number", name="pk_buckets"
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "records",
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("series", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False, comment="-1: undeclared"),
        sa.Column("pass_no", sa.Integer(), nullable=False, comment="n-th pass of its epoch; 0 in training"),
        sa.Column("batch", sa.BigInteger(), nullable=False, comment="within its epoch or pass"),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("call", sa.Integer(), nullable=False, comment="n-th record of this batch"),
        sa.Column("loss", sa.Double(), nullable=True, comment="as the framework returned it; null: NaN"),
        sa.Column("batch_size", sa.Integer(), nullable=True, comment="items; null: undeclared"),
        sa.Column("weight", sa.Double(), nullable=True, comment="in the series' unit; null: the batch size"),
        sa.Column(
            "divisor", sa.Double(), nullable=True, comment="what the loss had been divided by; null: 1"
        ),
        sa.Column("window_items", sa.Double(), nullable=True, comment="denominator of a windowed sum"),
        sa.Column("reduction", sa.SmallInteger(), nullable=True, comment="where it differs from the series'"),
        sa.Column("step", sa.BigInteger(), nullable=True, comment="optimizer steps before it"),
        sa.Column("time_unix_s", sa.Double(), nullable=True, comment="unix s of the evaluation"),
        sa.CheckConstraint("batch >= 0", name="ck_records_batch"),
        sa.CheckConstraint("epoch >= -1", name="ck_records_epoch"),
        sa.ForeignKeyConstraint(["run"], ["runs.key"], name="fk_records_run_runs", ondelete="CASCADE").ddl_if(
            dialect="sqlite"
        ),
        sa.PrimaryKeyConstraint(
            "run", "series", "attempt", "epoch", "pass_no", "batch", "rank", "call", name="pk_records"
        ),
        sqlite_with_rowid=False,
        postgresql_partition_by="HASH (run)",
    )
    if op.get_bind().dialect.name == "postgresql":
        for number in range(PARTITIONS):
            op.execute(
                f"CREATE TABLE records_{number:02} PARTITION OF records "
                f"FOR VALUES WITH (MODULUS {PARTITIONS}, REMAINDER {number})"
            )
    op.create_index(
        "ix_records_nonfinite",
        "records",
        ["run", "series", "epoch", "pass_no", "batch", "rank"],
        sqlite_where=sa.text("loss IS NULL OR loss > 1.79e308 OR loss < -1.79e308"),
        postgresql_where=sa.text("loss IS NULL OR loss > 1.79e308 OR loss < -1.79e308"),
    )
    op.create_table(
        "series",
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("key", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False, comment="split/series, such as train/loss"),
        sa.Column(
            "reduction",
            sa.SmallInteger(),
            nullable=False,
            comment="0 mean, 1 sum, 2 sum_over_window, 3 unknown",
        ),
        sa.Column(
            "weight_unit",
            sa.String(length=16),
            nullable=False,
            comment="items, elements, tokens, class_weight",
        ),
        sa.Column(
            "weight_source",
            sa.String(length=16),
            nullable=False,
            comment="exact, probed, declared, assumed, unknown",
        ),
        sa.Column("traits", sa.JSON(), nullable=False, comment="what else is known of its loss: wire.TRAITS"),
        sa.ForeignKeyConstraint(["run"], ["runs.key"], name="fk_series_run_runs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run", "key", name="pk_series"),
        sa.UniqueConstraint("run", "name", name="uq_series_run"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "writers",
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("writer", sa.String(length=64), nullable=False, comment="made by the client"),
        sa.Column("rank", sa.Integer(), nullable=False, comment="0 to world size - 1"),
        sa.Column("attempt", sa.Integer(), nullable=False, comment="key of its attempt"),
        sa.Column("next", sa.BigInteger(), nullable=False, comment="index of the first record not yet taken"),
        sa.Column("gaps", sa.BigInteger(), nullable=False, comment="records it numbered and never sent"),
        sa.Column(
            "state", sa.String(length=16), nullable=False, comment="as runs.state; silent: it never told"
        ),
        sa.Column("last_seen_unix_s", sa.Double(), nullable=False, comment="unix s of its last sign of life"),
        sa.Column("dropped", sa.JSON(), nullable=False, comment="reason to count, as the client told it"),
        sa.ForeignKeyConstraint(["run"], ["runs.key"], name="fk_writers_run_runs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run", "writer", name="pk_writers"),
        sqlite_with_rowid=False,
    )


def _summary_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("seen", sa.BigInteger(), nullable=False, comment="records"),
        sa.Column(
            "count", sa.BigInteger(), nullable=False, comment="records that are finite with weight > 0"
        ),
        sa.Column(
            "unweighted", sa.BigInteger(), nullable=False, comment="counted records of undeclared meaning"
        ),
        sa.Column("nonfinite", sa.BigInteger(), nullable=False, comment="records with NaN or ±Infinity"),
        sa.Column("empty", sa.BigInteger(), nullable=False, comment="records with weight 0"),
        sa.Column("items", sa.BigInteger(), nullable=False, comment="Σ batch_size of counted records"),
        sa.Column("items_seen", sa.BigInteger(), nullable=False, comment="Σ batch_size of all records"),
        sa.Column("weight", sa.Double(), nullable=False, comment="Σ w"),
        sa.Column("weight_low", sa.Double(), nullable=False, comment="its rounding error"),
        sa.Column("weighted", sa.Double(), nullable=False, comment="Σ w·m"),
        sa.Column("weighted_low", sa.Double(), nullable=False, comment="its rounding error"),
        sa.Column("v", sa.Double(), nullable=False, comment="Σ v, as returned"),
        sa.Column("v_low", sa.Double(), nullable=False, comment="its rounding error"),
        sa.Column("m", sa.Double(), nullable=False, comment="Σ m, per unit of weight"),
        sa.Column("m_low", sa.Double(), nullable=False, comment="its rounding error"),
        sa.Column("sized", sa.Double(), nullable=False, comment="Σ n·m"),
        sa.Column("sized_low", sa.Double(), nullable=False, comment="its rounding error"),
        sa.Column("m2", sa.Double(), nullable=False, comment="Σ n·(m - size-weighted mean)²"),
        sa.Column("low", sa.Double(), nullable=True, comment="least m"),
        sa.Column("high", sa.Double(), nullable=True, comment="greatest m"),
        sa.Column("batch_size", sa.Integer(), nullable=True, comment="nominal: the largest"),
        sa.Column("last_batch_size", sa.Integer(), nullable=True, comment="of the last batch by position"),
        sa.Column("last_batch", sa.BigInteger(), nullable=False, comment="its position"),
        sa.Column("last_rank", sa.Integer(), nullable=False, comment="its rank"),
        sa.Column("first_step", sa.BigInteger(), nullable=True, comment="least optimizer step"),
        sa.Column("last_step", sa.BigInteger(), nullable=True, comment="greatest optimizer step"),
        sa.Column("first_time_unix_s", sa.Double(), nullable=True, comment="unix s of its first record"),
        sa.Column("last_time_unix_s", sa.Double(), nullable=True, comment="unix s of its last record"),
    ]
