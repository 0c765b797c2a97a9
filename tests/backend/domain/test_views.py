"""Every view of an epoch, on the seed's items and the cases around them."""

import math

import pytest

from lossboard_server.domain.meaning import Evaluation, Reduction
from lossboard_server.domain.summary import Row, Summary, summarise
from lossboard_server.domain.views import (
    EPOCH_VIEWS,
    LABELS,
    EpochViews,
    needs_rows,
    needs_rows_for_sum,
    view_epoch,
    views_of_rows,
)

SEED = [4, 5, 2, 4, 3, 2, 3, 1]


def row(
    batch: int,
    loss: float,
    size: int,
    weight: float | None = None,
    reduction: Reduction = Reduction.MEAN,
    rank: int = 0,
) -> Row:
    return Row(0, batch, rank, Evaluation(loss, size, weight, None, None, reduction), None, None)


def views_of(rows: list[Row], reduction: Reduction = Reduction.MEAN) -> EpochViews:
    return view_epoch([summarise(rows)], reduction, is_declared=True)


def seed_rows(batch_size: int, reduction: Reduction = Reduction.MEAN) -> list[Row]:
    rows = []
    for batch, first in enumerate(range(0, 8, batch_size)):
        part = SEED[first : first + batch_size]
        loss = sum(part) / (len(part) if reduction is Reduction.MEAN else 1)
        rows.append(row(batch, loss, len(part), reduction=reduction))
    return rows


@pytest.mark.parametrize(
    ("batch_size", "raw_sum", "normalized_sum", "batch_mean", "per_item"),
    [(2, 12, 24, 3, 3), (4, 6, 24, 3, 3), (3, 26 / 3, 26, 26 / 9, 3), (1, 24, 24, 3, 3), (8, 3, 24, 3, 3)],
)
def test_seed_reads_as_the_seed_says(
    batch_size: int, raw_sum: float, normalized_sum: float, batch_mean: float, per_item: float
) -> None:
    views = views_of(seed_rows(batch_size))
    assert views.raw_sum == pytest.approx(raw_sum, rel=1e-15)
    assert views.normalized_sum == pytest.approx(normalized_sum, rel=1e-15)
    assert views.batch_mean == pytest.approx(batch_mean, rel=1e-15)
    assert views.per_item == pytest.approx(per_item, rel=1e-15)
    assert views.size_weighted == pytest.approx(3, rel=1e-15)
    assert views.total == pytest.approx(24, rel=1e-15)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
def test_summed_loss_reads_the_same_per_item(batch_size: int) -> None:
    views = views_of(seed_rows(batch_size, Reduction.SUM), Reduction.SUM)
    assert views.raw_sum == 24
    assert views.per_item == pytest.approx(3, rel=1e-15)


def test_tokens_weigh_by_their_own_count() -> None:
    views = views_of([row(0, 4.0, 2, 6.0), row(1, 2.0, 2, 2.0)])
    assert views.per_item == pytest.approx(3.5)
    assert views.size_weighted == 3.0


def test_ranks_average_within_a_batch_and_then_sum() -> None:
    # oracle: ranks_raw_sum_of_means
    ranks = [
        summarise([row(0, 4.0, 2), row(1, 3.0, 2)]),
        summarise([row(0, 2.0, 1, rank=1), row(1, 1.0, 2, rank=1)]),
    ]
    views = view_epoch(ranks, Reduction.MEAN, is_declared=True)
    assert views.raw_sum == 5.0
    assert views.per_item == pytest.approx(18 / 7)
    assert views.batch_mean == 2.5
    assert (views.merged.count, views.global_batches) == (4, 2)


def test_ranks_of_unequal_length_need_their_rows() -> None:
    rows = [row(0, 4.0, 2), row(0, 2.0, 2, rank=1), row(1, 3.0, 2)]
    ranks = [summarise([rows[0], rows[2]]), summarise([rows[1]])]
    assert needs_rows(ranks, Reduction.MEAN)
    assert view_epoch(ranks, Reduction.MEAN, is_declared=True).raw_sum is None
    views = views_of_rows(ranks, Reduction.MEAN, rows, True)
    assert (views.raw_sum, views.step_objective, views.global_batches) == (6.0, 3.0, 2)
    assert views.batch_mean == 3.0


def test_ranks_that_lost_different_batches_to_nan_need_their_rows() -> None:
    rows = [row(0, 4.0, 2), row(0, math.nan, 2, rank=1), row(1, math.nan, 2), row(1, 2.0, 2, rank=1)]
    ranks = [summarise(rows[::2]), summarise(rows[1::2])]
    assert needs_rows_for_sum(ranks, Reduction.MEAN)
    assert views_of_rows(ranks, Reduction.MEAN, rows, True).raw_sum == 6.0


def test_sum_over_unequal_ranks_is_the_total_and_needs_no_rows() -> None:
    ranks = [
        summarise([row(0, 4.0, 2, reduction=Reduction.SUM), row(1, 3.0, 2, reduction=Reduction.SUM)]),
        summarise([row(0, 2.0, 2, reduction=Reduction.SUM, rank=1)]),
    ]
    assert not needs_rows_for_sum(ranks, Reduction.SUM)
    assert view_epoch(ranks, Reduction.SUM, is_declared=True).raw_sum == 9.0


def test_unknown_meaning_never_needs_rows() -> None:
    assert not needs_rows([summarise([row(0, 4.0, 2), row(3, 3.0, 2)]), Summary()], Reduction.UNKNOWN)


def test_every_view_of_an_epoch_has_a_label_and_a_value() -> None:
    views = views_of(seed_rows(3))
    assert set(EPOCH_VIEWS) < set(LABELS)
    assert {view: views.value(view) for view in EPOCH_VIEWS} == pytest.approx(
        {"raw_sum": 26 / 3, "normalized_sum": 26, "batch_mean": 26 / 9, "per_item": 3, "size_weighted": 3,
         "step_objective": 26 / 9}
    )  # fmt: skip


def test_undeclared_epoch_has_no_sums() -> None:
    views = view_epoch([summarise(seed_rows(2))], Reduction.MEAN, is_declared=False)
    assert views.raw_sum is None
    assert views.normalized_sum is None
    assert views.per_item == 3.0


def test_unknown_meaning_has_no_view_of_an_epoch() -> None:
    views = view_epoch([summarise(seed_rows(2))], Reduction.UNKNOWN, is_declared=True)
    assert [views.raw_sum, views.per_item, views.batch_mean, views.total] == [None] * 4


def test_epoch_without_a_finite_loss_has_no_value_rather_than_zero() -> None:
    views = views_of([row(0, math.nan, 2)])
    assert views.per_item is None
    assert views.raw_sum is None


def test_no_rank_at_all_is_no_value() -> None:
    assert view_epoch([Summary()], Reduction.MEAN, is_declared=True).per_item is None
