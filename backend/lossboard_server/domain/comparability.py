"""Why curves can't be compared in a view: stable codes and sentences with the runs' own numbers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lossboard_server.domain.views import PER_UNIT

SUMS = ["raw_sum", "normalized_sum"]


@dataclass(slots=True)
class Facts:
    """What comparing needs to know of one run's series."""

    run: str
    name: str
    series: str
    reduction: str
    weight_unit: str
    weight_source: str
    batch_size: int | None = None
    batches: int | None = None
    """Batches of its newest complete epoch, else of its newest."""
    items: int | None = None
    other_split: str = ""
    other_batches: int | None = None
    """Another split that is drawn beside it, and the batches of its newest epoch."""
    is_declared: bool = True
    weight_differs: bool = False
    """Σ weight ≠ Σ batch_size: the normalized sum is not a total of items."""


@dataclass(slots=True)
class Warning:  # noqa: A001 (the word on the wire)
    """One reason; `views` empty means that it holds in every view."""

    code: str
    views: list[str]
    runs: list[str]
    message: str
    suggest: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the wire's form."""
        return asdict(self)


def compare(facts: Sequence[Facts]) -> list[Warning]:
    """List the reasons why these curves, one of each run, can't be laid over each other."""
    found = [
        _batch_sizes(facts) or _splits(facts),
        _items(facts),
        _reductions(facts),
        _units(facts),
        _unknown(facts),
        _undeclared(facts),
        _weights(facts),
    ]
    return [warning for warning in found if warning is not None]


def _batch_sizes(facts: Sequence[Facts]) -> Warning | None:
    known = [f for f in facts if f.batch_size and f.reduction == "mean"]
    if len({f.batch_size for f in known}) < 2:
        return None
    largest = max(known, key=lambda f: (f.batches or 0, -(f.batch_size or 0)))
    smallest = min(known, key=lambda f: (f.batches or 0, -(f.batch_size or 0)))
    ratio = ""
    if largest.batches and smallest.batches and largest.batches > smallest.batches:
        times = largest.batches / smallest.batches
        ratio = f", so at the same loss {largest.name} stands {times:.3g} times as high as {smallest.name}"
    message = (
        "Raw sum adds one value for each batch, and these runs cut an epoch into different batches: "
        f"{_each(known)}{ratio}. Per item divides that out."
    )
    return _warn("batch-size-differs", ["raw_sum"], known, message, view="per_item")


def _splits(facts: Sequence[Facts]) -> Warning | None:
    uneven = [f for f in facts if f.batches and f.other_batches and f.batches != f.other_batches]
    if not uneven:
        return None
    said = "; ".join(
        f"{f.name} {f.batches:,} in {f.series.split('/')[0]} and {f.other_batches:,} in {f.other_split}"
        for f in uneven
    )
    message = (
        f"Raw sum adds one value for each batch, and the splits have different numbers of batches ({said}): "
        "their curves can't be compared with each other here. Per item divides that out."
    )
    return _warn("splits-differ", ["raw_sum"], uneven, message, view="per_item")


def _items(facts: Sequence[Facts]) -> Warning | None:
    known = [f for f in facts if f.items]
    if len({f.items for f in known}) < 2:
        return None
    said = "; ".join(f"{f.name} {f.items:,} items" for f in known)
    message = f"A sum grows with what it is summed over, and these epochs hold different data: {said}."
    return _warn("items-differ", SUMS, known, message, view="per_item")


def _reductions(facts: Sequence[Facts]) -> Warning | None:
    known = [f for f in facts if f.reduction != "unknown"]
    if len({f.reduction for f in known}) < 2:
        return None
    said = "; ".join(f"{f.name}: {f.reduction}" for f in known)
    message = f"The losses were reduced in different ways ({said}), so their raw sums differ in unit."
    return _warn("reduction-differs", ["raw_sum"], known, message, view="per_item")


def _units(facts: Sequence[Facts]) -> Warning | None:
    known = [f for f in facts if f.reduction != "unknown"]
    if len({f.weight_unit for f in known}) < 2:
        return None
    said = "; ".join(f"{f.name} {PER_UNIT[f.weight_unit].lower()}" for f in known)
    message = f"These losses are means over different things ({said}). No view makes them one number."
    return _warn("weight-unit-differs", [], known, message)


def _unknown(facts: Sequence[Facts]) -> Warning | None:
    unknown = [f for f in facts if f.reduction == "unknown"]
    if not unknown:
        return None
    names = ", ".join(f.name for f in unknown)
    message = (
        f"{names}: the meaning of this loss is undeclared, so it is drawn as it came and can't be "
        "averaged. Log batch_size beside it to say what it is."
    )
    return _warn("meaning-undeclared", [], unknown, message, view="batch")


def _undeclared(facts: Sequence[Facts]) -> Warning | None:
    undeclared = [f for f in facts if not f.is_declared]
    if not undeclared:
        return None
    names = ", ".join(f.name for f in undeclared)
    message = (
        f"{names}: nothing told where an epoch begins, so sums over an epoch are not shown. "
        "Give watch() the loader, or set run.epoch."
    )
    return _warn("epoch-undeclared", SUMS, undeclared, message, x="batch")


def _weights(facts: Sequence[Facts]) -> Warning | None:
    weighted = [f for f in facts if f.weight_differs]
    if not weighted:
        return None
    said = "; ".join(f"{f.name} is a mean {PER_UNIT[f.weight_unit].lower()}" for f in weighted)
    message = f"Normalized sum multiplies by the batch size, but {said}: here it is not a total."
    return _warn("weight-unit", ["normalized_sum"], weighted, message, view="per_item")


def _each(facts: Sequence[Facts]) -> str:
    return "; ".join(
        f"{f.name} into {f.batches:,} of {f.batch_size}"
        if f.batches
        else f"{f.name} into batches of {f.batch_size}"
        for f in facts
    )


def _warn(code: str, views: list[str], facts: Sequence[Facts], message: str, **suggest: str) -> Warning:
    return Warning(code, views, list(dict.fromkeys(f.run for f in facts)), message, suggest)
