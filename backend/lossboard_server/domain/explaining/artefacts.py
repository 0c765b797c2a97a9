"""What makes an epoch's views differ from each other, each as a closed form with its size.

An artefact is no mistake in the records: it is what a formula does to them.
"""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from lossboard_server.domain.explaining.epoch import Explained
from lossboard_server.domain.explaining.wording import compare, count, say, weigh
from lossboard_server.domain.meaning import Reduction
from lossboard_server.domain.objective import Step

NEGLIGIBLE = 1e-9  # of the value: below it a difference is rounding


@dataclass(slots=True)
class Artefact:
    """One reason; `size` in the view's own unit, None where the sentence alone tells it."""

    code: str
    view: str
    size: float | None
    message: str

    def as_json(self) -> dict[str, Any]:
        """Return the wire's form."""
        return asdict(self)


def find_artefacts(epoch: Explained) -> list[Artefact]:
    """List what makes the epoch's views differ; nothing where it has none."""
    if epoch.views.per_item is None:
        return []
    found = [*_find_uneven(epoch), *_find_unequal_weights(epoch), *_find_step_artefacts(epoch)]
    return [each for each in found if _is_telling(epoch, each)]


def _is_telling(epoch: Explained, artefact: Artefact) -> bool:
    """Tell whether a size is more than rounding, and the doubles hold it."""
    value = getattr(epoch.views, artefact.view)
    if artefact.size is None:
        return True
    return math.isfinite(artefact.size) and abs(artefact.size) > NEGLIGIBLE * abs(value or 0.0)


def _find_uneven(epoch: Explained) -> Iterator[Artefact]:
    """Batches of unequal size, where each weighs what it holds."""
    merged = epoch.merged
    size = merged.batch_size
    if not epoch.is_weighed_by_items or size is None or merged.items == size * merged.count:
        return
    short = merged.last_batch_size
    is_last_alone = (
        len(epoch.ranks) == 1 and short is not None and merged.items == size * (merged.count - 1) + short
    )
    if is_last_alone and short is not None and short < size:
        yield from _find_short_last(epoch, size, short)
        return
    missing = size * merged.count - merged.items
    gap = _gap(epoch.views.batch_mean, epoch.views.per_item)
    spread = "" if epoch.columns is None else f"hold {min(epoch.columns.n):,} to {size:,} items and "
    yield Artefact(
        "uneven-batches",
        "batch_mean",
        gap,
        f"Batch mean is {compare(gap)} {epoch.per_unit}: batches {spread}count alike.",
    )
    if epoch.views.normalized_sum is not None and epoch.counts_items:
        excess = _gap(epoch.views.normalized_sum, epoch.views.total)
        yield Artefact(
            "uneven-batches",
            "normalized_sum",
            excess,
            f"Normalized sum is {compare(excess)} the total: each batch is counted as if it held {size:,}"
            f" items, which is {count(missing, 'item')} too many.",
        )


def _find_short_last(epoch: Explained, size: int, short: int) -> Iterator[Artefact]:
    """Closed forms for full batches of `size` and one last of `short` items (SEMANTICS §0.2)."""
    merged = epoch.merged
    batches, items = merged.count, merged.items
    last = (size * merged.m[0] - merged.sized[0]) / (size - short)
    if epoch.columns is not None:
        last = epoch.columns.m[-1]
    full = (merged.sized[0] - short * last) / (size * (batches - 1))
    gap = (last - full) * (batches - 1) * (size - short) / (batches * items)
    yield Artefact(
        "short-last-batch",
        "batch_mean",
        gap,
        f"Batch mean is {compare(gap)} {epoch.per_unit} because the last batch holds"
        f" {short:,} of {count(size, 'item')}.",
    )
    if epoch.views.normalized_sum is not None and epoch.counts_items:
        excess = (size - short) * last
        yield Artefact(
            "short-last-batch",
            "normalized_sum",
            excess,
            f"Normalized sum is {compare(excess)} the total: the last batch's mean {say(last)} is counted"
            f" for {count(size - short, 'item')} that it lacks.",
        )


def _find_unequal_weights(epoch: Explained) -> Iterator[Artefact]:
    """Weights that are no numbers of items: tokens, elements, class weights."""
    views, merged = epoch.views, epoch.merged
    if views.size_weighted is None:
        return
    if not epoch.is_weighed_by_items:
        gap = _gap(views.size_weighted, views.per_item)
        yield Artefact(
            "unequal-weights",
            "size_weighted",
            gap,
            f"Size weighted is {compare(gap)} {epoch.per_unit}: it weighs batches by their items,"
            f" while the loss was divided by {_name_weights(epoch)}{_say_rates(epoch)}.",
        )
        gap = _gap(views.batch_mean, views.per_item)
        spread = ""
        if epoch.columns is not None and min(epoch.columns.w) < max(epoch.columns.w):
            spread = f"hold {_say_range(epoch.columns.w, epoch.weight_unit)} and "
        yield Artefact(
            "unequal-weights",
            "batch_mean",
            gap,
            f"Batch mean is {compare(gap)} {epoch.per_unit}: batches {spread}count alike.",
        )
    if views.normalized_sum is not None and not epoch.counts_items:
        yield Artefact(
            "weight-unit",
            "normalized_sum",
            _gap(views.normalized_sum, views.total),
            f"Normalized sum is no total: it counts {count(merged.items, 'item')},"
            f" the loss was divided by {_name_total_weight(epoch)}.",
        )


def _name_weights(epoch: Explained) -> str:
    return "weights of its own" if epoch.weight_unit == "items" else epoch.units


def _name_total_weight(epoch: Explained) -> str:
    total = epoch.merged.weight[0]
    return f"a weight of {say(total)}" if epoch.weight_unit == "items" else weigh(total, epoch.weight_unit)


def _say_rates(epoch: Explained) -> str:
    columns = epoch.columns
    if columns is None or not min(columns.n, default=0):
        return ""
    rates = [w / n for w, n in zip(columns.w, columns.n, strict=True)]
    if min(rates) == max(rates):
        return ""
    return f", {say(min(rates), 3)} to {say(max(rates), 3)} an item"


def _find_step_artefacts(epoch: Explained) -> Iterator[Artefact]:
    """The step objective against the pooled mean: first within the steps, then between them."""
    value, pooled = epoch.views.step_objective, epoch.views.per_item
    is_parted = len(epoch.ranks) > 1 or epoch.accumulates or epoch.calls_again
    if value is None or pooled is None or not is_parted or not epoch.is_training:
        return
    if epoch.reduction is Reduction.SUM:
        return  # a mean of sums is no mean of items
    if epoch.calls_again:
        yield Artefact(
            "several-calls",
            "step_objective",
            value - pooled,
            f"Step objective is {compare(value - pooled)} {epoch.per_unit}: the loss was called several times"
            " for a batch, and what the calls gave adds up in its gradient.",
        )
        return
    code, parts = (
        ("rank-imbalance", "ranks") if len(epoch.ranks) > 1 else ("unequal-micro-batches", "micro-batches")
    )
    if epoch.steps is None:
        yield Artefact(
            code,
            "step_objective",
            value - pooled,
            f"Step objective is {compare(value - pooled)} {epoch.per_unit}:"
            f" the {parts} of a step count alike, whatever they hold.",
        )
        return
    within, between = split_objective(epoch.steps, pooled)
    reason = f"the {parts} of a step count alike{_say_weights(epoch)}"
    if epoch.reduction is Reduction.SUM_OVER_WINDOW and len(epoch.ranks) == 1:
        code = "window-differs"
        reason = f"what their losses were divided by is not the {epoch.units} that they hold"
    yield Artefact(
        code,
        "step_objective",
        within,
        f"Step objective is {compare(within)} the mean {epoch.per_unit} of its steps: {reason}.",
    )
    largest = max(step.micro_batches for step in epoch.steps)
    last = epoch.steps[-1].micro_batches
    if last < largest and all(step.micro_batches == largest for step in epoch.steps[:-1]):
        yield Artefact(
            "leftover-window",
            "step_objective",
            between,
            f"The last step holds {last} of {count(largest, 'micro-batch', 'micro-batches')} and counts as a"
            f" whole one, which moves the step objective by {say(between, 3)}.",
        )
        return
    yield Artefact(
        "unequal-steps",
        "step_objective",
        between,
        f"Steps hold unequal numbers of {epoch.units} and count alike, which moves the step objective by"
        f" {say(between, 3)}.",
    )


def split_objective(steps: list[Step], pooled: float) -> tuple[float, float]:
    """Split step objective − pooled mean into what happens within steps and between them."""
    weighed = [step for step in steps if step.weight]
    within = math.fsum(step.objective - step.pooled for step in weighed) / len(weighed)
    between = math.fsum(step.pooled - pooled for step in weighed) / len(weighed)
    return within, between


def _say_weights(epoch: Explained) -> str:
    columns = epoch.columns
    if columns is None or min(columns.w) == max(columns.w):
        return ""
    return f", though they hold {_say_range(columns.w, epoch.weight_unit)}"


def _say_range(weights: list[float], unit: str) -> str:
    return f"{say(min(weights))} to {weigh(max(weights), unit)}"


def _gap(value: float | None, other: float | None) -> float:
    return (value or 0.0) - (other or 0.0)
