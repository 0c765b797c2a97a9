"""The views of an epoch: every way to make one number of its records, and nothing else.

The one home of the formulas of DESIGN §5; the page and the SQL hold none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lossboard_server.domain.meaning import Reduction
from lossboard_server.domain.summary import Summary, merge_all

EPOCH_VIEWS = ("raw_sum", "normalized_sum", "batch_mean", "per_item", "size_weighted")

LABELS = {
    "raw_sum": "Raw sum",
    "normalized_sum": "Normalized sum",
    "batch_mean": "Batch mean",
    "per_item": "Per item",
    "size_weighted": "Size weighted",
    "batch": "Every batch",
    "running": "Running mean",
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
) -> EpochViews:
    """Compute the views of an epoch from the summaries of its ranks.

    `is_declared` False: nothing told where the epoch begins, so sums over it mean nothing.
    `raw_sum` and `global_batches` come from the rows where ranks hold unequal batches
    (`needs_rows`), since the mean over ranks is taken batch by batch.
    """
    merged = merge_all(ranks)
    batches = global_batches if global_batches is not None else max((r.seen for r in ranks), default=0)
    views = EpochViews(merged, None, None, None, None, None, None, batches)
    if merged.count == 0 or merged.unweighted or reduction is Reduction.UNKNOWN:
        return views
    views.batch_mean = merged.m[0] / merged.count
    views.per_item = merged.mean
    views.size_weighted = merged.size_weighted
    views.total = merged.weighted[0]
    if is_declared:
        if merged.batch_size is not None:
            views.normalized_sum = merged.m[0] * merged.batch_size
        views.raw_sum = raw_sum if raw_sum is not None else _raw_sum(ranks, reduction)
    return views


def needs_rows(ranks: Sequence[Summary], reduction: Reduction) -> bool:
    """Tell whether the raw sum of these ranks can't be had from their summaries."""
    return (
        len(ranks) > 1
        and reduction is Reduction.MEAN
        and len({(rank.count, rank.seen, rank.last_batch) for rank in ranks}) > 1
    )


def raw_sum_of_batches(values: Sequence[tuple[int, float]]) -> tuple[float, int]:
    """Average over ranks within each batch, then sum; return the sum and the number of batches.

    Shapes: values (n,) of (batch, v), counted records only.
    """
    batches: dict[int, list[float]] = {}
    for batch, v in values:
        batches.setdefault(batch, []).append(v)
    return sum(sum(vs) / len(vs) for vs in batches.values()), len(batches)


def _raw_sum(ranks: Sequence[Summary], reduction: Reduction) -> float:
    total = merge_all(ranks).v[0]
    return total / len(ranks) if reduction is Reduction.MEAN else total
