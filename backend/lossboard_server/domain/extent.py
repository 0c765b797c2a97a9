"""How much of a training an epoch covers: its steps, its ranks, and its share of the data set."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lossboard_server.domain.objective import count_steps
from lossboard_server.domain.precision import resolution
from lossboard_server.domain.summary import Summary

COARSE = ("bfloat16", "float16")
"""Types whose resolution shows in a loss curve."""


@dataclass(slots=True)
class RankFigures:
    """What one rank adds to an epoch."""

    rank: int
    per_item: float | None
    batch_mean: float | None
    batches: int
    items: int
    weight: float


@dataclass(slots=True)
class Extent:
    """What an epoch covers; None where nothing tells it.

    Units: steps of the rank that made most; accumulation in micro-batches a step, at least 1; coverage in
    items seen ÷ items of the data set; resolution and rank_spread in the loss's own unit.
    """

    steps: int | None
    accumulation: float | None
    coverage: float | None
    resolution: float | None
    ranks: list[RankFigures]
    rank_spread: float | None

    def as_json(self) -> dict[str, Any]:
        """Return the wire's form."""
        return asdict(self)


def measure_extent(ranks: Mapping[int, Summary], merged: Summary, traits: Mapping[str, Any]) -> Extent:
    """Tell what an epoch of these ranks covers; `merged` is their sum.

    The resolution is that of its greatest value.
    """
    steps = max((count_steps(rank) or 0 for rank in ranks.values()), default=0) or None
    batches = max((rank.seen for rank in ranks.values()), default=0)
    dataset_items = traits.get("dataset_items")
    figures = [_figures(rank, summary) for rank, summary in sorted(ranks.items())] if len(ranks) > 1 else []
    means = [rank.per_item for rank in figures if rank.per_item is not None]
    dtype = traits.get("dtype")
    sizes = [abs(value) for value in (merged.low, merged.high) if value is not None]
    return Extent(
        steps=steps,
        accumulation=batches / steps if steps and steps <= batches else None,
        coverage=merged.items_seen / dataset_items if dataset_items else None,
        resolution=resolution(dtype, max(sizes)) if dtype in COARSE and sizes else None,
        ranks=figures,
        rank_spread=max(means) - min(means) if len(means) > 1 else None,
    )


def _figures(rank: int, summary: Summary) -> RankFigures:
    is_known = summary.count > 0 and not summary.unweighted
    return RankFigures(
        rank,
        summary.mean if is_known else None,
        summary.m[0] / summary.count if is_known else None,
        summary.count,
        summary.items,
        summary.weight[0],
    )
