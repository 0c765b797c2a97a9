"""The tables of records and of their summaries, by epoch and in both tiers of buckets."""

from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, Integer, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from lossboard_server.store.tables.base import Base, WithoutRowid, in_run, in_run_on_sqlite

IS_EXTREME = "loss IS NULL OR loss > 1.79e308 OR loss < -1.79e308"
"""SQL: a record's loss is NaN, infinite or within a hundredth of it. A query must hold this very text."""

IS_FURTHER_RANK = "rank > 0"
"""SQL: of no rank that a training on one device has. A query must say the same."""


class RecordRow(Base):
    """A record: one evaluation of a loss, as it was sent. Nothing is sampled away."""

    __tablename__ = "records"
    __table_args__ = (
        CheckConstraint("batch >= 0", name="batch"),
        CheckConstraint("epoch >= -1", name="epoch"),
        in_run_on_sqlite("records"),
        # The few losses that are not finite, found without reading the others. The bounds are
        # finite, since the two databases spell infinity differently; readers look again.
        Index(
            "ix_records_nonfinite",
            *("run", "series", "epoch", "pass_no", "batch", "rank"),
            sqlite_where=text(IS_EXTREME),
            postgresql_where=text(IS_EXTREME),
        ),
        WithoutRowid | {"postgresql_partition_by": "HASH (run)"},
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
    __table_args__ = (
        in_run("epochs"),
        # How far each rank has come, without reading all epochs. Rank 0 is in the newest ones.
        Index(
            "ix_epochs_rank",
            *("run", "series", "attempt", "rank", "epoch"),
            sqlite_where=text(IS_FURTHER_RANK),
            postgresql_where=text(IS_FURTHER_RANK),
        ),
        WithoutRowid,
    )

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


class EpochBucketRow(SummaryColumns, Base):
    """The summary of `width` neighbouring epochs, all ranks, and in validation all passes.

    It stands once the attempt's series has gone on behind its last epoch; what is not closed
    is made from the level below when it is read. Undeclared epochs have none.
    """

    __tablename__ = "epoch_buckets"
    __table_args__ = (in_run("epoch_buckets"), WithoutRowid)

    run: Mapped[int] = mapped_column(Integer, primary_key=True)
    series: Mapped[int] = mapped_column(Integer, primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True)
    width: Mapped[int] = mapped_column(Integer, primary_key=True, comment="epochs: 16, 64, 256, …")
    number: Mapped[int] = mapped_column(Integer, primary_key=True, comment="of the bucket: epoch ÷ width")
    points: Mapped[int] = mapped_column(comment="epochs, in validation passes, that it holds")
    ranks: Mapped[int] = mapped_column(comment="the most that one of them had")
    batches: Mapped[float] = mapped_column(comment="Σ of each epoch's records ÷ its ranks")
    views: Mapped[dict[str, Any]] = mapped_column(
        comment="of each view of the epochs: how many have it, their sum, the least and the greatest"
    )
