"""An epoch with all that is known of it, as it is explained."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lossboard_server.domain.explaining.printouts import Batch, batches_of
from lossboard_server.domain.explaining.wording import UNITS
from lossboard_server.domain.extent import Extent, measure_extent
from lossboard_server.domain.meaning import Reduction, measure
from lossboard_server.domain.objective import Step, steps_of
from lossboard_server.domain.summary import Row, Summary
from lossboard_server.domain.views import PER_UNIT, EpochViews

TRAIN = "train"
ROUNDING = 1e-12  # relative: below it two sums of doubles are the same


@dataclass(slots=True)
class Columns:
    """Records that enter the views, as columns of one length; n is their items."""

    batch: list[int] = field(default_factory=list)
    v: list[float] = field(default_factory=list)
    m: list[float] = field(default_factory=list)
    w: list[float] = field(default_factory=list)
    n: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Explained:
    """One epoch (of validation: one pass) of a series.

    `rows` are its records in order of batch and rank, `before` those of the epochs before it,
    None where they are too many to read (`noise.MAX_ROWS`). `frameworks` maps names to
    versions as the run's environment has them.
    """

    series: str
    ranks: Mapping[int, Summary]
    views: EpochViews
    reduction: Reduction
    weight_unit: str
    weight_source: str
    rows: Sequence[Row] | None = None
    before: Sequence[Row] | None = None
    traits: Mapping[str, Any] = field(default_factory=dict)
    frameworks: Mapping[str, str] = field(default_factory=dict)
    is_declared: bool = True
    is_complete: bool = True
    extent: Extent = field(init=False)
    columns: Columns | None = field(init=False)
    steps: list[Step] | None = field(init=False)
    batches: dict[int, list[Batch]] = field(init=False)
    """What each rank's process saw; empty without rows."""
    batches_before: dict[int, list[Batch]] = field(init=False)

    def __post_init__(self) -> None:
        self.extent = measure_extent(self.ranks, self.views.merged, self.traits)
        if not self.is_training:  # its records name the step at which training stood
            self.extent.steps = self.extent.accumulation = None
        self.columns = self.steps = None
        self.batches, self.batches_before = _split(self.rows), _split(self.before)
        if self.rows is not None:
            self.columns = _count_rows(self.rows)
            self.steps = steps_of(self.rows, self.reduction) if self.is_training else None

    @property
    def first_rank(self) -> list[Batch]:
        """What the first rank's process saw."""
        return next(iter(self.batches.values()), [])

    @property
    def is_training(self) -> bool:
        """Whether its records were made while the weights moved."""
        return self.series.split("/", 1)[0] == TRAIN

    @property
    def merged(self) -> Summary:
        """All its ranks."""
        return self.views.merged

    @property
    def per_unit(self) -> str:
        """What its mean is called in a sentence: "per token"."""
        return PER_UNIT[self.weight_unit].lower()

    @property
    def units(self) -> str:
        """What its weights count: "tokens"."""
        return UNITS[self.weight_unit][1]

    @property
    def is_weighed_by_items(self) -> bool:
        """Whether weighing by items gives its mean: weights are items, or in proportion to them."""
        mean, by_items = self.merged.mean, self.merged.size_weighted
        return mean is not None and by_items is not None and abs(by_items - mean) <= ROUNDING * abs(mean)

    @property
    def counts_items(self) -> bool:
        """Whether its weights add up to its items: normalized sum and total are of one unit."""
        return abs(self.merged.weight[0] - self.merged.items) <= ROUNDING * self.merged.items

    @property
    def accumulates(self) -> bool:
        """Whether some step has several micro-batches of a rank."""
        if self.steps is not None:
            return any(step.micro_batches > 1 for step in self.steps)
        return (self.extent.accumulation or 1) > 1

    @property
    def calls_again(self) -> bool:
        """Whether the loss was called several times for some batch."""
        if self.rows is not None:
            return len({(row.batch, row.rank) for row in self.rows}) < len(self.rows)
        return any(rank.seen > rank.last_batch + 1 for rank in self.ranks.values())

    def say_weights(self) -> str:
        """Tell, to stand after a reason, that a mean by items is not this loss's; nothing where it is."""
        if not self.merged.count or self.merged.unweighted or self.is_weighed_by_items:
            return ""
        weights = "weights of its own" if self.weight_unit == "items" else self.units
        return f" The loss was divided by {weights}, so this is not its mean {self.per_unit}."


def _split(rows: Sequence[Row] | None) -> dict[int, list[Batch]]:
    by_rank: dict[int, list[Row]] = {}
    for row in rows or ():
        by_rank.setdefault(row.rank, []).append(row)
    return {rank: batches_of(of_rank) for rank, of_rank in sorted(by_rank.items())}


def _count_rows(rows: Sequence[Row]) -> Columns:
    columns = Columns()
    for row in rows:
        v, m, weight = measure(row.evaluation)
        if weight == 0 or not math.isfinite(m):
            continue
        columns.batch.append(row.batch)
        columns.v.append(v)
        columns.m.append(m)
        columns.w.append(weight or 0.0)
        columns.n.append(row.evaluation.batch_size or 0)
    return columns
