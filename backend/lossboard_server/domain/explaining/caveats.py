"""What was left out of an epoch, seen twice, or taken on trust: artefacts of records, not of formulas."""

from collections.abc import Iterator

from lossboard_server.domain.comparing.limits import MAX_PARTS_GAP
from lossboard_server.domain.explaining.artefacts import Artefact
from lossboard_server.domain.explaining.epoch import Explained
from lossboard_server.domain.explaining.wording import count, say

FLOAT32_STEP = 2.0**-23
DOUBLED = 1.5  # of the data set: beyond it whole workers read what others read


def find_caveats(epoch: Explained) -> list[Artefact]:
    """List what a reader must know beside the epoch's numbers."""
    return [*_find_left_out(epoch), *_find_coverage(epoch), *_find_unsure(epoch), *_find_inexact(epoch)]


def _find_left_out(epoch: Explained) -> Iterator[Artefact]:
    merged = epoch.merged
    if merged.nonfinite:
        seen = count(merged.seen, "batch", "batches")
        over = f"over {merged.items:,} of {count(merged.items_seen, 'item')}"
        if merged.count == 0:
            over = "missing, not 0"
        yield Artefact(
            "nonfinite",
            "per_item",
            None,
            f"{merged.nonfinite:,} of {seen} came out NaN or infinite and {_is(merged.nonfinite)} left out:"
            f" the epoch's value is {over}.",
        )
    if merged.empty:
        yield Artefact(
            "empty",
            "per_item",
            None,
            f"{count(merged.empty, 'batch', 'batches')} had a weight of 0 (all targets ignored):"
            " nothing was measured there, which is no alarm.",
        )


def _find_coverage(epoch: Explained) -> Iterator[Artefact]:
    coverage, items = epoch.extent.coverage, epoch.traits.get("dataset_items")
    if coverage is None or items is None or coverage == 1 or (coverage < 1 and not epoch.is_complete):
        return
    seen = epoch.merged.items_seen
    if coverage < 1:
        yield Artefact(
            "coverage",
            "per_item",
            None,
            f"{seen:,} of {items:,} items were seen ({say(100 * coverage, 3)} %):"
            " a dropped last batch or an early stop leaves the rest out.",
        )
        return
    reason = "a sampler that draws again, or a second pass of the loader, does that"
    if coverage >= DOUBLED:
        reason = "workers that each read all of the data do that"
    elif len(epoch.ranks) > 1:
        reason = "DistributedSampler does that to fill its ranks"
    yield Artefact(
        "duplicates",
        "per_item",
        None,
        f"{seen:,} items were seen of a data set of {items:,}, so {seen - items:,} counted twice; {reason}."
        " They can't be taken out of batch means.",
    )


def _find_unsure(epoch: Explained) -> Iterator[Artefact]:
    if epoch.views.per_item is None:
        return
    if epoch.weight_source == "assumed":
        yield Artefact(
            "assumed-weight",
            "per_item",
            None,
            "We assumed that the loss is a mean over the batch's items."
            " If it ignores or weights targets, pass weight=.",
        )
    elif epoch.weight_source == "unknown":
        yield Artefact(
            "assumed-weight",
            "per_item",
            None,
            "The loss is a mean with weights of its own that we can't see; the batch's items stand for"
            " them. Pass weight= for an exact mean.",
        )
    broadcast = epoch.traits.get("broadcast")
    if broadcast:
        yield Artefact(
            "broadcast",
            "per_item",
            None,
            f"{broadcast[0].upper()}{broadcast[1:].rstrip('.')}: the loss compares items with other items.",
        )


def _find_inexact(epoch: Explained) -> Iterator[Artefact]:
    step = epoch.extent.resolution
    merged = epoch.merged
    if step is not None:
        size = max(abs(merged.low or 0.0), abs(merged.high or 0.0))
        yield Artefact(
            "resolution",
            "batch",
            step,
            f"A {epoch.traits['dtype']} loss near {say(size, 3)} moves in steps of {say(step, 4)}:"
            " each batch is off by up to half of that.",
        )
    if epoch.traits.get("from_running") and merged.mean is not None:
        error = merged.seen * abs(merged.mean) * FLOAT32_STEP
        yield Artefact(
            "from-running",
            "batch",
            error,
            "Batch values were recovered from a framework's float32 running mean: by the last of"
            f" {count(merged.seen, 'batch', 'batches')} they are off by up to about {say(error, 2)}.",
        )
    gap = epoch.traits.get("parts_gap")
    if gap is not None and gap > MAX_PARTS_GAP:
        yield Artefact(
            "parts-disagree",
            "batch",
            None,
            f"The parts don't add up to the total: they are off by up to {say(100 * gap, 3)} % of it.",
        )


def _is(number: int) -> str:
    return "is" if number == 1 else "are"
