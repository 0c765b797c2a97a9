"""Reasons that lie in a loss itself: what no view of it can say, and train beside validation."""

from collections.abc import Sequence

from lossboard_server.domain.comparing.facts import SUMS, TRAIN, Facts, Reason, listed, warn
from lossboard_server.domain.views import PER_UNIT

MAX_PARTS_GAP = 1e-3  # relative: below it float32 and a weak rounding of factors explain it
NO_MEAN = {
    "batch_coupled": (
        "batch-coupled",
        "each item's loss depends on the other items of its batch, so the value moves with the batch size",
    ),
    "non_linear": (
        "non-linear",
        "a batch's value is no mean over its items (a root of a mean is none), and moves with the batch size",
    ),
}


def find_coupled(facts: Sequence[Facts]) -> list[Reason]:
    """Find losses that no batch size but their own compares with; they are never overlaid in silence."""
    found = []
    for finding, (code, reason) in NO_MEAN.items():
        told = [f for f in facts if f.finding == finding]
        if not told:
            continue
        others = [f for f in facts if f.finding != finding]
        sizes = {f.batch_size for f in told}
        said = "; ".join(
            f"{f.label} in batches of {f.batch_size:,}"
            if f.batch_size
            else f"{f.label} in batches of unknown size"
            for f in told
        )
        beside = f"; beside it {listed(others)} with another kind of loss" if others else ""
        start = f"{reason[0].upper()}{reason[1:]} ({said}{beside})."
        if others or len(sizes) > 1 or None in sizes:
            found.append(
                warn(code, [*told, *others], f"{start} No view makes these one number.", layout="side")
            )
        else:
            message = f"{start} There is no mean per item, and only equal batch sizes compare."
            found.append(warn(code, told, message, view="batch"))
    return found


def find_constants(facts: Sequence[Facts]) -> Reason | None:
    """Find losses that don't look at the batch."""
    told = [f for f in facts if f.finding == "constant"]
    if not told:
        return None
    message = (
        f"{listed(told)}: this loss does not depend on what is in the batch, as a regulariser alone "
        "does not. There is no mean per item."
    )
    return warn("non-linear", told, message, view="batch")


def find_undeclared_meaning(facts: Sequence[Facts]) -> Reason | None:
    """Find losses of which nobody said what they are."""
    unknown = [f for f in facts if not f.has_item_mean and f.finding not in (*NO_MEAN, "constant")]
    if not unknown:
        return None
    message = (
        f"{listed(unknown)}: the meaning of this loss is undeclared, so it is drawn as it came and can't be "
        "averaged. Log batch_size beside it to say what it is."
    )
    return warn("meaning-undeclared", unknown, message, view="batch")


def find_undeclared_epochs(facts: Sequence[Facts]) -> Reason | None:
    """Find runs that nothing told where an epoch begins."""
    undeclared = [f for f in facts if not f.is_declared]
    if not undeclared:
        return None
    message = (
        f"{listed(undeclared)}: nothing told where an epoch begins, so sums over an epoch are not shown. "
        "Give watch() the loader, or set run.epoch."
    )
    return warn("epoch-undeclared", undeclared, message, SUMS, x="batch")


def find_weight_units(facts: Sequence[Facts]) -> Reason | None:
    """Find means over something else than items, whose normalized sum is no total."""
    weighted = [f for f in facts if f.weight_differs and f.has_item_mean]
    if not weighted:
        return None
    said = "; ".join(
        f"{f.label} is weighted by something else"
        if f.weight_unit == "items"
        else f"{f.label} is a mean {PER_UNIT[f.weight_unit].lower()}"
        for f in weighted
    )
    message = f"Normalized sum multiplies by the batch size, but {said}: here it is not a total."
    return warn("weight-unit", weighted, message, ["normalized_sum"], view="per_item")


def find_parts(facts: Sequence[Facts]) -> Reason | None:
    """Find totals that their parts don't add up to."""
    told = [f for f in facts if f.parts_gap is not None and f.parts_gap > MAX_PARTS_GAP]
    if not told:
        return None
    said = "; ".join(f"{f.label} by up to {100 * (f.parts_gap or 0):.3g} %" for f in told)
    message = (
        f"The parts of this loss don't add up to its total: {said}. A part is missing, or its factor is "
        "another, so the parts don't say what was trained."
    )
    return warn("parts-disagree", told, message)


def find_splits(facts: Sequence[Facts]) -> Reason | None:
    """Find runs whose splits have different numbers of batches."""
    uneven = [
        (train, other)
        for train, other in _pair_splits(facts)
        if train.batches and other.batches and train.batches != other.batches
    ]
    if not uneven:
        return None
    said = "; ".join(
        f"{train.name} {train.batches:,} in {train.split} and {other.batches:,} in {other.split}"
        for train, other in uneven
    )
    message = (
        f"Raw sum adds one value for each batch, and the splits have different numbers of batches ({said}): "
        "their curves can't be compared with each other here. Per item divides that out."
    )
    return warn("splits-differ", [train for train, _ in uneven], message, ["raw_sum"], view="per_item")


def find_split_units(facts: Sequence[Facts]) -> Reason | None:
    """Find runs whose splits are means over different things."""
    uneven = [
        (train, other)
        for train, other in _pair_splits(facts)
        if train.weight_unit != other.weight_unit and train.has_item_mean and other.has_item_mean
    ]
    if not uneven:
        return None
    said = "; ".join(
        f"{train.name} {PER_UNIT[train.weight_unit].lower()} in {train.split}, "
        f"{PER_UNIT[other.weight_unit].lower()} in {other.split}"
        for train, other in uneven
    )
    message = f"The splits are means over different things ({said}). No view makes them one number."
    return warn("weight-unit-differs", [train for train, _ in uneven], message)


def _pair_splits(facts: Sequence[Facts]) -> list[tuple[Facts, Facts]]:
    """Pair each run's training with the first other split beside it."""
    pairs = []
    for train in facts:
        if train.split == TRAIN:
            others = [f for f in facts if f.run == train.run and f.split != TRAIN]
            pairs += [(train, other) for other in others[:1]]
    return pairs
