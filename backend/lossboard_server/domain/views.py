"""The views of an epoch: every way to make one number of its records, and nothing else.

The one home of the formulas of DESIGN §5; the page and the SQL hold none.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lossboard_server.domain import objective
from lossboard_server.domain.meaning import Reduction, measure
from lossboard_server.domain.summary import Row, Summary, merge_all
from lossboard_server.domain.sums import add_all

EPOCH_VIEWS = ("raw_sum", "normalized_sum", "batch_mean", "per_item", "size_weighted", "step_objective")

LABELS = {
    "raw_sum": "Raw sum",
    "normalized_sum": "Normalized sum",
    "batch_mean": "Batch mean",
    "per_item": "Per item",
    "size_weighted": "Size weighted",
    "step_objective": "Step objective",
    "total": "Total",
    "batch": "Every batch",
    "running": "Running mean",
    "smooth": "Smoothed",
}

PER_UNIT = {
    "items": "Per item",
    "elements": "Per element",
    "tokens": "Per token",
    "class_weight": "Per class weight",
}


@dataclass(slots=True)
class EpochViews:
    """Every view of one epoch, pass and series; None where a view has no honest value.

    Units: sums in the loss's own unit, the rest per unit of weight.
    """

    merged: Summary
    raw_sum: float | None
    normalized_sum: float | None
    batch_mean: float | None
    per_item: float | None
    size_weighted: float | None
    step_objective: float | None
    total: float | None
    global_batches: int

    def value(self, view: str) -> float | None:
        """Return the value of one of EPOCH_VIEWS."""
        found = getattr(self, view)
        return None if found is None else float(found)


def view_epoch(
    ranks: Sequence[Summary],
    reduction: Reduction,
    *,
    is_declared: bool,
    raw_sum: float | None = None,
    global_batches: int | None = None,
    step_objective: float | None = None,
) -> EpochViews:
    """Compute the views of an epoch from the summaries of its ranks.

    `is_declared` False: nothing told where the epoch begins, so sums over it mean nothing.
    `raw_sum`, `global_batches` and `step_objective` come from the rows where the summaries
    don't tell them (`needs_rows`); without them the first and the last are None.
    """
    merged = merge_all(ranks)
    batches = global_batches if global_batches is not None else max((r.seen for r in ranks), default=0)
    views = EpochViews(merged, None, None, None, None, None, None, None, batches)
    if not _has_meaning(merged, reduction):
        return views
    views.batch_mean = merged.m[0] / merged.count
    views.per_item = merged.mean
    views.size_weighted = merged.size_weighted
    views.step_objective = (
        objective.from_summaries(ranks, reduction) if step_objective is None else step_objective
    )
    views.total = merged.weighted[0]
    if is_declared:
        if merged.batch_size is not None:
            views.normalized_sum = merged.m[0] * merged.batch_size
        views.raw_sum = _raw_sum(merged, ranks, reduction) if raw_sum is None else raw_sum
    return views


def views_of_rows(
    ranks: Sequence[Summary], reduction: Reduction, rows: Iterable[Row], is_declared: bool
) -> EpochViews:
    """Compute the views of an epoch from its rows too, which must stand in order of batch and rank.

    For an epoch whose summaries don't tell them all (`needs_rows`).
    Cost: O(n) time and memory; about 3 µs a row.
    """
    rows = list(rows)
    raw_sum = _average_ranks_and_add(rows) if needs_rows_for_sum(ranks, reduction) else None
    return view_epoch(
        ranks,
        reduction,
        is_declared=is_declared,
        raw_sum=raw_sum,
        global_batches=len({row.batch for row in rows}),
        step_objective=objective.from_rows(rows, reduction),
    )


def needs_rows(ranks: Sequence[Summary], reduction: Reduction) -> bool:
    """Tell whether some view of these ranks can't be had from their summaries."""
    return needs_rows_for_sum(ranks, reduction) or needs_rows_for_objective(ranks, reduction)


def needs_rows_for_sum(ranks: Sequence[Summary], reduction: Reduction) -> bool:
    """Tell whether the raw sum needs the rows: its mean over ranks is taken batch by batch."""
    return (
        len(ranks) > 1
        and reduction is Reduction.MEAN
        and any(rank.count for rank in ranks)
        and (
            len({(rank.count, rank.last_batch) for rank in ranks}) > 1
            or any(rank.count != rank.seen for rank in ranks)
        )
    )


def needs_rows_for_objective(ranks: Sequence[Summary], reduction: Reduction) -> bool:
    """Tell whether the step objective needs the rows: windows or ranks are not alike."""
    return (
        reduction is not Reduction.UNKNOWN
        and any(rank.count for rank in ranks)
        and not any(rank.unweighted for rank in ranks)
        and objective.from_summaries(ranks, reduction) is None
    )


def _has_meaning(merged: Summary, reduction: Reduction) -> bool:
    return merged.count > 0 and not merged.unweighted and reduction is not Reduction.UNKNOWN


def _raw_sum(merged: Summary, ranks: Sequence[Summary], reduction: Reduction) -> float | None:
    if reduction is not Reduction.MEAN or len(ranks) == 1:
        return merged.v[0]
    return None if needs_rows_for_sum(ranks, reduction) else merged.v[0] / len(ranks)


def _average_ranks_and_add(rows: Iterable[Row]) -> float:
    """Return the mean over ranks within each batch, added over the batches."""
    batches: dict[int, list[float]] = {}
    for row in rows:
        v, m, weight = measure(row.evaluation)
        if weight and math.isfinite(m):
            batches.setdefault(row.batch, []).append(v)
    return add_all(add_all(values) / len(values) for values in batches.values())
