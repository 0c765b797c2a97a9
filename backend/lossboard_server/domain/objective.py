"""The step objective: what the gradient of each optimizer step belonged to, and its mean over the steps.

Of one step it is the mean over its micro-batches and ranks of the values as the framework
returned them; micro-batches of `sum_over_window` are parts of one mean already, so they add.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lossboard_server.domain.meaning import Reduction, measure
from lossboard_server.domain.summary import Row, Summary
from lossboard_server.domain.sums import add_all

_Key = tuple[bool, int]
"""(whether the step was told, its number); untold, each batch is a step."""


@dataclass(slots=True)
class Step:
    """One optimizer step: its objective, and the same records added up by weight.

    Units: objective in the loss's own unit; micro_batches of the rank that holds most.
    """

    objective: float
    weighted: float
    weight: float
    micro_batches: int

    @property
    def pooled(self) -> float:
        """The step's records per unit of weight."""
        return self.weighted / self.weight


@dataclass(slots=True)
class _Batch:
    """One batch of one rank, its calls added; broken where one of them is not finite."""

    v: float = 0.0
    weighted: float = 0.0
    weight: float = 0.0
    is_measured: bool = False
    is_broken: bool = False

    def add(self, row: Row) -> None:
        v, m, weight = measure(row.evaluation)
        if weight == 0:
            return
        if not math.isfinite(m):
            self.is_broken = True
            return
        self.is_measured = True
        self.v += v
        self.weighted += (weight or 0.0) * m
        self.weight += weight or 0.0


def steps_of(rows: Iterable[Row], reduction: Reduction) -> list[Step]:
    """Return the steps of one epoch's rows, which must stand in order of batch and rank.

    Several calls of one batch are parts of one backward and add up (SEMANTICS §2.2); a sum
    that lacks a part is left out, as is a step without any.
    Cost: O(n) time and memory.
    """
    found: dict[_Key, dict[int, list[_Batch]]] = {}
    place: tuple[int, int] | None = None
    for row in rows:
        before, place = place, (row.batch, row.rank)
        if place != before:
            batch = _Batch()
            key = (False, row.batch) if row.step is None else (True, row.step)
            found.setdefault(key, {}).setdefault(row.rank, []).append(batch)
        batch.add(row)
    steps = [_add_ranks(list(ranks.values()), reduction) for ranks in found.values()]
    return [step for step in steps if step is not None]


def from_rows(rows: Iterable[Row], reduction: Reduction) -> float | None:
    """Return the mean of the step objectives; None where no step has one."""
    return average(steps_of(rows, reduction))


def average(steps: Sequence[Step]) -> float | None:
    """Return the unweighted mean of the steps' objectives."""
    return add_all([step.objective for step in steps]) / len(steps) if steps else None


def from_summaries(ranks: Sequence[Summary], reduction: Reduction) -> float | None:
    """Return the same from what each rank adds up to, where that tells it; None: the rows are needed.

    It does where every rank has the same batches and steps, each finite, and the batches
    come out even over the steps: then windows of equal size are taken for granted.
    """
    first = ranks[0]
    if first.seen > first.last_batch + 1:
        return None  # some batch has several calls, which add up
    is_finite = first.count == first.seen
    if len(ranks) > 1 and not (is_finite and len({_shape(rank) for rank in ranks}) == 1):
        return None
    steps = count_steps(first) or first.seen
    if steps not in (1, first.seen) and (not is_finite or first.seen % steps):
        return None
    total = first.v[0] if len(ranks) == 1 else add_all([rank.v[0] for rank in ranks])
    if steps == first.seen or reduction is not Reduction.SUM_OVER_WINDOW:
        return total / (first.count * len(ranks))
    return total / (steps * len(ranks)) if is_finite else None


def count_steps(summary: Summary) -> int | None:
    """Count the optimizer steps that a rank's records span; None where nothing told them."""
    if summary.first_step is None or summary.last_step is None:
        return None
    return summary.last_step - summary.first_step + 1


def has_large_steps(rank: Summary) -> bool:
    """Tell whether some step of a rank was made of several micro-batches."""
    return (count_steps(rank) or rank.seen) < rank.seen


def _shape(rank: Summary) -> tuple[int | None, ...]:
    return rank.seen, rank.count, rank.last_batch, rank.first_step, rank.last_step


def _add_ranks(ranks: Sequence[Sequence[_Batch]], reduction: Reduction) -> Step | None:
    shares = []
    counted: list[_Batch] = []
    for batches in ranks:
        whole = [batch for batch in batches if batch.is_measured and not batch.is_broken]
        counted += whole
        total = add_all(batch.v for batch in whole)
        if whole and reduction is not Reduction.SUM_OVER_WINDOW:
            shares.append(total / len(whole))
        elif whole and not any(batch.is_broken for batch in batches):
            shares.append(total)
    if not shares:
        return None
    return Step(
        add_all(shares) / len(shares),
        add_all(batch.weighted for batch in counted),
        add_all(batch.weight for batch in counted),
        max(len(batches) for batches in ranks),
    )
