"""The views of an epoch worked out for a reader: each formula with the epoch's own numbers in it."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from lossboard_server.domain.explaining.epoch import Columns, Explained
from lossboard_server.domain.explaining.formulas import tell_absence, tell_meaning, write_formula
from lossboard_server.domain.explaining.wording import add_up, count, is_long, say
from lossboard_server.domain.meaning import Reduction
from lossboard_server.domain.views import LABELS, PER_UNIT

VIEWS = ("per_item", "batch_mean", "raw_sum", "normalized_sum", "size_weighted", "step_objective", "total")


@dataclass(slots=True)
class Working:
    """One view worked out: its formula in symbols, the same with numbers, and what it means.

    `value` None: `worked` is empty, and `meaning` says why there is none.
    """

    view: str
    label: str
    value: float | None
    formula: str
    worked: str
    meaning: str

    def as_json(self) -> dict[str, Any]:
        """Return the wire's form."""
        return asdict(self)


def work_out(epoch: Explained) -> list[Working]:
    """Work out every view of an epoch, the one to compare runs by first; validation makes no steps."""
    return [_work_out(epoch, view) for view in VIEWS if epoch.is_training or view != "step_objective"]


def _work_out(epoch: Explained, view: str) -> Working:
    label = PER_UNIT[epoch.weight_unit] if view == "per_item" else LABELS[view]
    value: float | None = getattr(epoch.views, view)
    formula = write_formula(epoch, view)
    if value is None:
        return Working(view, label, None, formula, "", tell_absence(epoch, view))
    columns = epoch.columns
    worked = _from_sums(epoch, view) if columns is None else _from_records(epoch, columns, view)
    if worked != say(value):
        worked += f" = {say(value)}"
    return Working(view, label, value, formula, worked, tell_meaning(epoch, view))


def _from_records(epoch: Explained, columns: Columns, view: str) -> str:
    weighted = [w * m for w, m in zip(columns.w, columns.m, strict=True)]
    if view == "per_item":
        return _divide(weighted, columns.w, epoch.merged.weighted[0], epoch.merged.weight[0])
    if view == "size_weighted":
        sized = [n * m for n, m in zip(columns.n, columns.m, strict=True)]
        return _divide(sized, columns.n, epoch.merged.sized[0], epoch.merged.items)
    if view == "batch_mean":
        return f"{_bracket(columns.m)} ÷ {len(columns.m):,}"
    if view == "normalized_sum":
        return f"{epoch.merged.batch_size:,} × {_bracket(columns.m)}"
    if view == "raw_sum":
        return add_up(_batch_values(epoch, columns))
    if view == "step_objective" and epoch.steps:
        return f"{_bracket([step.objective for step in epoch.steps])} ÷ {len(epoch.steps):,}"
    return add_up(weighted)


def _from_sums(epoch: Explained, view: str) -> str:
    merged = epoch.merged
    batches = count(merged.count, "batch", "batches")
    return {
        "per_item": f"{say(merged.weighted[0])} ÷ {say(merged.weight[0])}",
        "size_weighted": f"{say(merged.sized[0])} ÷ {merged.items:,}",
        "batch_mean": f"{say(merged.m[0])} ÷ {merged.count:,}",
        "normalized_sum": f"{say(merged.batch_size)} × {say(merged.m[0])}",
        "raw_sum": f"sum over {batches}",
        "step_objective": f"mean over {count(epoch.extent.steps or merged.count, 'step')}",
        "total": f"sum over {batches}",
    }[view]


def _batch_values(epoch: Explained, columns: Columns) -> list[float]:
    """Return what the raw sum adds: of a mean, each batch's average over its ranks."""
    if epoch.reduction is not Reduction.MEAN or len(epoch.ranks) == 1:
        return columns.v
    by_batch = groupby(zip(columns.batch, columns.v, strict=True), lambda pair: pair[0])
    values = ([v for _, v in group] for _, group in by_batch)
    return [math.fsum(vs) / len(vs) for vs in values]


def _divide(over: Sequence[float], under: Sequence[float], top: float, bottom: float) -> str:
    """Write Σ over ÷ Σ under; where the terms don't all fit, the two sums after it."""
    if len(over) == 1:
        return f"{say(top)} ÷ {say(bottom)}"
    text = f"({add_up(over)}) ÷ ({add_up(under)})"
    return f"{text} = {say(top)} ÷ {say(bottom)}" if is_long(over) else text


def _bracket(terms: Sequence[float]) -> str:
    return f"({add_up(terms)})" if len(terms) > 1 else add_up(terms)
