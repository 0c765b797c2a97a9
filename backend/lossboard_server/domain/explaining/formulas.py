"""The formula of each view in symbols, and what the view means, in the words of one epoch.

v is a batch's value as returned, m the same per unit of weight, w its weight, n its items.
"""

from lossboard_server.domain.explaining.epoch import Explained
from lossboard_server.domain.explaining.wording import count, say, weigh
from lossboard_server.domain.meaning import Reduction
from lossboard_server.domain.noise import MAX_ROWS

SYMBOLS = {
    "per_item": "Σ w·m ÷ Σ w",
    "batch_mean": "Σ m ÷ batches",
    "raw_sum": "Σ v",
    "normalized_sum": "batch size × Σ m",
    "size_weighted": "Σ n·m ÷ Σ n",
    "step_objective": "mean over steps of the mean of v over micro-batches and ranks",
    "total": "Σ w·m",
}

NO_ITEM_MEAN = {
    "batch_coupled": "The loss depends on which items stand together in a batch: no mean per item exists.",
    "non_linear": "The loss is neither a mean nor a sum over items: no mean per item exists.",
    "constant": "The loss doesn't depend on the items: no mean per item exists.",
}
UNDECLARED = (
    "Nothing told whether this number is a mean or a sum over its batch, or its records disagree:"
    " only the batches themselves can be shown."
)


def write_formula(epoch: Explained, view: str) -> str:
    """Write a view's formula in symbols."""
    if view == "per_item" and epoch.reduction is Reduction.SUM:
        return "Σ v ÷ Σ w"
    if view == "raw_sum" and epoch.reduction is Reduction.MEAN and len(epoch.ranks) > 1:
        return "Σ over batches of the mean of v over ranks"
    if view == "step_objective" and epoch.reduction is Reduction.SUM_OVER_WINDOW:
        return "mean over steps of the sum of v over micro-batches, averaged over ranks"
    return SYMBOLS[view]


def tell_meaning(epoch: Explained, view: str) -> str:
    """Tell what a view's number is in one sentence."""
    if view == "per_item":
        weight = weigh(epoch.merged.weight[0], epoch.weight_unit)
        return f"The mean over {weight}, the same for any cut into batches: what to compare runs by."
    if view == "raw_sum":
        return _tell_raw_sum(epoch)
    if view == "normalized_sum":
        size = count(epoch.merged.batch_size or 0, "item")
        return f"The raw sum made comparable between batch sizes: each batch's mean counts for {size}."
    return {
        "batch_mean": "The plain average of the batches' means: a short batch counts as much as a full one.",
        "size_weighted": "The batches' means weighted by their items: what most frameworks print.",
        "step_objective": "What the gradients belonged to: each step counts alike, and each rank in it.",
        "total": f"The loss of all {epoch.units} together.",
    }[view]


def tell_absence(epoch: Explained, view: str) -> str:
    """Tell why a view has no honest value."""
    merged = epoch.merged
    if epoch.reduction is Reduction.UNKNOWN:
        return NO_ITEM_MEAN.get(epoch.traits.get("finding") or "", UNDECLARED)
    if merged.count == 0:
        return "No batch of it has a finite loss and a weight above 0."
    if merged.unweighted:
        return "Some records came without a batch size, so nothing tells what they weigh."
    if not epoch.is_declared and view in ("raw_sum", "normalized_sum"):
        return "Nothing told where the epoch begins and ends, so a sum over it means nothing."
    if view in ("normalized_sum", "size_weighted"):
        return "Its records came without a batch size."
    return f"It takes the records one by one, and there are more than {MAX_ROWS:,}."


def _tell_raw_sum(epoch: Explained) -> str:
    if epoch.reduction is Reduction.SUM:
        return "The sum of the batches' sums, which is the total."
    if epoch.reduction is Reduction.SUM_OVER_WINDOW:
        return "The sum of what the micro-batches returned: one mean for each optimizer step."
    meaning = "What a loop prints that adds up loss.item(): one average for each batch"
    size, value, batches = epoch.merged.batch_size, epoch.views.raw_sum, epoch.views.global_batches
    if size is None or value is None or batches < 2:
        return f"{meaning}."
    fewer = value * -(-batches // 2) / batches
    return f"{meaning}, so at batch size {2 * size:,} it would be about {say(fewer, 3)}."
