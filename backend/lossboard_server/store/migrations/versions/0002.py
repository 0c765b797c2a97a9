"""Buckets over epochs, keys of runs in a table of their own, and what people say of a run."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Bring the first release's tables on; every run keeps its key."""
    op.create_table(
        "run_keys",
        sa.Column("key", sa.Integer(), nullable=False, comment="the run in every other table"),
        sa.Column("id", sa.String(length=64), nullable=False, comment="made by the client: A-Za-z0-9_-"),
        sa.PrimaryKeyConstraint("key", name="pk_run_keys"),
        sa.UniqueConstraint("id", name="uq_run_keys_id"),
        sqlite_autoincrement=True,
    )
    op.execute("INSERT INTO run_keys (key, id) SELECT key, id FROM runs")
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "SELECT setval(pg_get_serial_sequence('run_keys', 'key'), max(key)) "
            "FROM run_keys HAVING max(key) > 0"
        )
        op.execute("ALTER TABLE runs ALTER COLUMN key DROP DEFAULT")
        op.execute("DROP SEQUENCE IF EXISTS runs_key_seq")
    # SQLite drops a constraint by making the table anew: store/migrating.py has foreign keys off meanwhile.
    with op.batch_alter_table("runs") as runs:
        runs.drop_constraint("uq_runs_id", type_="unique")
        for column in _run_columns():
            runs.add_column(column)
    op.create_index(
        "ix_epochs_rank",
        "epochs",
        ["run", "series", "attempt", "rank", "epoch"],
        sqlite_where=sa.text("rank > 0"),
        postgresql_where=sa.text("rank > 0"),
    )
    op.add_column(
        "series",
        sa.Column(
            "trail",
            sa.JSON(),
            nullable=False,
            server_default="[]",
            comment="where its newest changes stand: store/writing/trail.py",
        ),
    )
    op.create_table(
        "epoch_buckets",
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("series", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False, comment="epochs: 16, 64, 256, …"),
        sa.Column("number", sa.Integer(), nullable=False, comment="of the bucket: epoch ÷ width"),
        sa.Column(
            "points", sa.Integer(), nullable=False, comment="epochs, in validation passes, that it holds"
        ),
        sa.Column("ranks", sa.Integer(), nullable=False, comment="the most that one of them had"),
        sa.Column("batches", sa.Double(), nullable=False, comment="Σ of each epoch's records ÷ its ranks"),
        sa.Column(
            "views",
            sa.JSON(),
            nullable=False,
            comment="of each view of the epochs: how many have it, their sum, the least and the greatest",
        ),
        *_summary_columns(),
        sa.ForeignKeyConstraint(["run"], ["runs.key"], name="fk_epoch_buckets_run_runs", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run", "series", "attempt", "width", "number", name="pk_epoch_buckets"),
        sqlite_with_rowid=False,
    )


def _run_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column(
            "redrawn",
            sa.BigInteger(),
            nullable=False,
            server_default="0",
            comment="version at which more than new records changed its curves",
        ),
        sa.Column(
            "notes", sa.Text(), nullable=False, server_default="", comment="free text, written on the page"
        ),
        sa.Column("colour", sa.String(length=7), nullable=True, comment="#rrggbb; null: the palette's"),
        sa.Column(
            "edited",
            sa.JSON(),
            nullable=False,
            server_default="[]",
            comment="fields that somebody set, and its client no longer does",
        ),
        sa.Column(
            "archived_unix_s",
            sa.Double(),
            nullable=True,
            comment="unix s when it was archived; null: it is not",
        ),
        sa.Column(
            "deleted_unix_s",
            sa.Double(),
            nullable=True,
            comment="unix s; its rows are going, and nothing shows it",
        ),
    ]


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
