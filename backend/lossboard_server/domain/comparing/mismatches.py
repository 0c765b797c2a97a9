"""Reasons that lie between runs: the same split of each, and what differs."""

from collections.abc import Sequence
from itertools import combinations
from math import ceil

from lossboard_server.domain.comparing.facts import SUMS, Facts, Reason, warn
from lossboard_server.domain.views import PER_UNIT

WEIGHTED = ["per_item", "running", "smooth"]
KNOWN_SOURCES = ("exact", "probed", "declared")


def find_batch_sizes(facts: Sequence[Facts]) -> Reason | None:
    """Find batch sizes that differ, which raw sum does not survive.

    Ranks train a batch side by side, so it holds what all of them do.
    """
    known = [f for f in facts if f.batch_size and f.reduction == "mean"]
    whole = {(f.batch_size or 0) * (f.ranks or 1) for f in known}
    if len(whole) < 2 or len({f.batch_size for f in known}) < 2:
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
    return warn("batch-size-differs", known, message, ["raw_sum"], view="per_item")


def _each(facts: Sequence[Facts]) -> str:
    return "; ".join(
        (f"{f.label} into {f.batches:,} of " if f.batches else f"{f.label} into batches of ")
        + (f"{f.ranks} × {f.batch_size}" if (f.ranks or 1) > 1 else f"{f.batch_size}")
        for f in facts
    )


def find_world_sizes(facts: Sequence[Facts]) -> Reason | None:
    """Find different numbers of ranks: a batch of raw sum, and a step, is a mean over them."""
    known = [f for f in facts if f.ranks and f.has_item_mean]
    if len({f.ranks for f in known}) < 2:
        return None
    said = "; ".join(
        f"{f.label} on {f.ranks} rank{'s' if f.ranks != 1 else ''}"
        + (f", {f.batches:,} batches an epoch" if f.batches else "")
        for f in known
    )
    message = (
        f"Ranks train a batch side by side, and these runs have different numbers of them: {said}. "
        "Raw sum and step objective are means over the ranks; per item adds them up."
    )
    # Sums of ranks add up in raw sum too, and as many means over ranks as means of one are alike.
    batches = {f.batches for f in known}
    is_alike = all(f.reduction != "mean" for f in known) or (len(batches) == 1 and None not in batches)
    views = ["step_objective"] if is_alike else ["raw_sum", "step_objective"]
    return warn("world-size-differs", known, message, views, view="per_item")


def find_accumulation(facts: Sequence[Facts]) -> Reason | None:
    """Find steps of different numbers of micro-batches, in the view that averages over them."""
    known = _accumulating(facts)
    if not known:
        return None
    message = (
        f"A step is a mean over its micro-batches: {_say_steps(known)}. Per item weighs every item alike."
    )
    return warn("accumulation-differs", known, message, ["step_objective"], view="per_item")


def find_step_axis(facts: Sequence[Facts]) -> Reason | None:
    """Find the same on the axis that counts steps."""
    known = _accumulating(facts)
    if not known:
        return None
    message = (
        f"A step holds different amounts of data: {_say_steps(known)}. By items they stand side by side."
    )
    return warn("accumulation-differs", known, message, axis="step", x="items")


def _accumulating(facts: Sequence[Facts]) -> list[Facts]:
    known = [f for f in facts if f.accumulation]
    # A skipped step makes a little more than a whole number of it, a leftover window a little less.
    differ = any(
        round(a) != round(b) and ceil(a) != ceil(b)
        for a, b in combinations([f.accumulation or 1 for f in known], 2)
    )
    return known if differ else []


def _say_steps(facts: Sequence[Facts]) -> str:
    return "; ".join(
        f"{f.label} {f.accumulation:.3g} micro-batch{'es' if (f.accumulation or 0) > 1 else ''}"
        + (f" of {f.batch_size}" if f.batch_size else "")
        for f in facts
    )


def find_items(facts: Sequence[Facts]) -> Reason | None:
    """Find epochs of different data, which no sum survives."""
    known = [f for f in facts if f.items]
    if len({f.items for f in known}) < 2:
        return None
    said = "; ".join(f"{f.label} {f.items:,} items" for f in known)
    message = f"A sum grows with what it is summed over, and these epochs hold different data: {said}."
    return warn("items-differ", known, message, SUMS, view="per_item")


def find_coverage(facts: Sequence[Facts]) -> Reason | None:
    """Find epochs that hold different shares of their data set."""
    known = [f for f in facts if f.coverage is not None]
    if len({f.coverage for f in known}) < 2:
        return None
    said = "; ".join(f"{f.label} {_say_coverage(f)}" for f in known)
    message = (
        f"An epoch is not the same share of the data for each run: {said}. "
        "By items they are compared after the same amount of data."
    )
    return warn("coverage-differs", known, message, axis="epoch", x="items")


def _say_coverage(f: Facts) -> str:
    items, whole = f.items or 0, f.dataset_items or 0
    if items == whole:
        return f"saw all {whole:,} items"
    if items > whole:
        return f"saw {items:,} of {whole:,} items, {items - whole:,} counted again"
    is_tail = f.batch_size is not None and whole - items < f.batch_size * (f.ranks or 1)
    return f"saw {items:,} of {whole:,} items" + (" (drop_last)" if is_tail else "")


def find_reductions(facts: Sequence[Facts]) -> Reason | None:
    """Find losses reduced in different ways."""
    known = [f for f in facts if f.has_item_mean]
    if len({f.reduction for f in known}) < 2:
        return None
    said = "; ".join(f"{f.label}: {f.reduction}" for f in known)
    message = f"The losses were reduced in different ways ({said}), so their raw sums differ in unit."
    return warn("reduction-differs", known, message, ["raw_sum"], view="per_item")


def find_units(facts: Sequence[Facts]) -> Reason | None:
    """Find means over different things."""
    known = [f for f in facts if f.has_item_mean]
    if len({f.weight_unit for f in known}) < 2:
        return None
    said = "; ".join(f"{f.label} {PER_UNIT[f.weight_unit].lower()}" for f in known)
    message = f"These losses are means over different things ({said}). No view makes them one number."
    return warn("weight-unit-differs", known, message, layout="side")


def find_weights(facts: Sequence[Facts]) -> Reason | None:
    """Find weights that are taken on trust beside weights that are known."""
    means = [f for f in facts if f.has_item_mean]
    trusted = [f for f in means if f.weight_source not in KNOWN_SOURCES]
    known = [f for f in means if f.weight_source in KNOWN_SOURCES]
    if not trusted or not known:
        return None
    how = {"assumed": "assumed to be its batch sizes"}
    said = "; ".join(
        f"{f.label}'s are {how.get(f.weight_source, 'unseen, and batch sizes stand for them')}"
        for f in trusted
    )
    message = (
        f"What a batch weighs is not equally known: {known[0].label}'s weights are {known[0].weight_source}; "
        f"{said}. If a loss ignores or weights targets, its mean is off by that; pass weight= to say them."
    )
    return warn("weight-unknown", [*known, *trusted], message, WEIGHTED, view="batch_mean")


def find_resolution(facts: Sequence[Facts]) -> Reason | None:
    """Find 16-bit losses whose neighbouring values lie further apart than the runs do."""
    for a, b in combinations(facts, 2):
        coarse = max((a, b), key=lambda f: f.resolution or 0.0)
        if coarse.resolution is None:
            continue
        if a.level is not None and b.level is not None:
            gap, what = abs(a.level - b.level), f"{a.label} and {b.label} differ by"
        elif coarse.std_error is not None:
            gap, what = coarse.std_error, "the noise of its mean is"
        else:
            continue
        if coarse.resolution > gap:
            message = (
                f"{coarse.label} computes its loss in {coarse.dtype}, whose values lie "
                f"{coarse.resolution:.3g} apart at this size, and {what} {gap:.3g}: rounding could make that."
            )
            return warn("resolution", [a, b], message)
    return None
