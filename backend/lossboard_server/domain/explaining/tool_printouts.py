"""What the seed's loop and the frameworks beside Keras would have printed for an epoch (SEMANTICS §3.3)."""

from collections.abc import Callable, Iterator, Sequence

from lossboard_server.domain.explaining import keras_printouts, trainer_printouts
from lossboard_server.domain.explaining.epoch import Explained
from lossboard_server.domain.explaining.printouts import (
    Batch,
    batch_mean,
    debiased_average,
    item_mean,
    mean_metric,
    running_average,
    running_batch_means,
)
from lossboard_server.domain.explaining.tools import (
    Printout,
    find_version,
    is_plain_torch,
    outline,
    say_outline,
)
from lossboard_server.domain.explaining.wording import say
from lossboard_server.domain.meaning import Reduction
from lossboard_server.domain.noise import MAX_ROWS

LIGHTNING = ("lightning", "pytorch_lightning")
SUMS = {
    Reduction.MEAN: "It adds one average for each batch, so it halves when the batch size doubles.",
    Reduction.SUM: "The loss is a sum over its batch, so this is the total.",
    Reduction.SUM_OVER_WINDOW: "Micro-batches are shares of their step's mean: it adds one mean a step.",
    Reduction.UNKNOWN: "It adds one value for each batch, whatever that value means.",
}


def list_printouts(epoch: Explained) -> list[Printout]:
    """List what other tools would have shown for this epoch, those that the run used first.

    Of several ranks it is what the first one's process prints.
    """
    if not epoch.first_rank:
        return []
    found = list(_print_training(epoch) if epoch.is_training else _print_validation(epoch))
    return sorted(found, key=lambda printout: not printout.is_yours)


def _print_training(epoch: Explained) -> Iterator[Printout]:
    batches = epoch.first_rank
    yield _seed_loop(epoch, batches)
    yield from keras_printouts.print_training(epoch, batches)
    yield from _lightning(epoch, batches)
    yield from trainer_printouts.print_training(epoch)
    yield _smoothed(
        epoch, "fastai", "train_loss", "average forgetting by 0.98 a batch, corrected for its start",
        lambda all_values: debiased_average(all_values, 0.98),
    )  # fmt: skip
    yield _smoothed(
        epoch, "ignite", "RunningAverage (alpha 0.98)", "0.98 × before + 0.02 × v, from the first v on",
        lambda all_values: running_average(all_values, 0.98),
    )  # fmt: skip
    yield _mean_metric(epoch, batches)
    running = running_batch_means(batches)
    yield Printout(
        *("ultralytics", "8.x", "tloss of the bar", "Σ v ÷ batches so far"),
        f"Each batch counts alike, and of several ranks the first alone.{say_outline(running)}",
        values=outline(running),
        is_yours="ultralytics" in epoch.frameworks,
    )
    yield _smoothed(
        epoch, "TensorBoard", "slider at 0.6, every batch logged", "average forgetting by 0.6 a point",
        lambda all_values: debiased_average(all_values, 0.6, skips_nonfinite=True),
    )  # fmt: skip


def _print_validation(epoch: Explained) -> Iterator[Printout]:
    batches = epoch.first_rank
    names = (*LIGHTNING, "transformers", "fastai", "ignite")
    generation = keras_printouts.find_generation(epoch.frameworks)
    yield Printout(
        "Keras, Lightning, Hugging Face Trainer, fastai, ignite",
        "Keras 2.x and ≥ 3.2, the others any",
        "val_loss, validation_step's log, eval_loss, valid_loss, Loss",
        "Σ n·v ÷ Σ n",
        f"Each batch's value counts by its items.{epoch.say_weights()}",
        value=item_mean(batches),
        is_yours=generation not in (None, "3.0") or any(name in epoch.frameworks for name in names),
    )
    yield from keras_printouts.print_validation(epoch, batches)
    yield _seed_loop(epoch, batches)
    yield _mean_metric(epoch, batches)
    yield Printout(
        *("ultralytics", "8.x", "val loss", "Σ v ÷ batches"),
        "Each batch counts alike.",
        value=batch_mean(batches),
        is_yours="ultralytics" in epoch.frameworks,
    )


def _seed_loop(epoch: Explained, batches: Sequence[Batch]) -> Printout:
    total = sum(batch.v for batch in batches)
    reason = SUMS[epoch.reduction]
    divisor = epoch.traits.get("divided_by")
    if divisor and divisor != 1:
        reason += f" Added up after the division by {say(divisor)} it would be {say(total / divisor)}."
    if len(epoch.ranks) > 1:
        reason += " Each rank prints its own."
    return Printout(
        *("PyTorch loop", "any", "epoch_loss += loss.item()", "Σ v"),
        reason,
        value=total,
        is_yours=is_plain_torch(epoch.frameworks),
    )


def _lightning(epoch: Explained, batches: Sequence[Batch]) -> Iterator[Printout]:
    is_yours = find_version(epoch.frameworks, *LIGHTNING) is not None
    alone = "" if len(epoch.ranks) == 1 else " Each rank shows its own, unless sync_dist=True."
    yield Printout(
        *("Lightning", "any", "self.log in training_step", "v of the last batch"),
        f"On steps is the default there: the newest batch's value, no average.{alone}",
        value=batches[-1].v,
        is_yours=is_yours,
    )
    yield Printout(
        *("Lightning", "any", "self.log(on_epoch=True)", "Σ n·v ÷ Σ n"),
        "Counts a batch by the first tensor found in it, which need not be its items"
        f" (then pass batch_size=).{epoch.say_weights()}{alone}",
        value=item_mean(batches),
        is_yours=is_yours,
    )
    if len(epoch.ranks) > 1:
        yield Printout(
            *("Lightning", "any", "self.log(on_epoch=True, sync_dist=True)", "Σ n·v ÷ Σ n over all ranks"),
            f"Each batch of each rank counts by its items.{epoch.say_weights()}",
            value=item_mean([batch for of_rank in epoch.batches.values() for batch in of_rank]),
            is_yours=is_yours,
        )
    yield Printout(
        *("Lightning", "any", "self.log(on_epoch=True, reduce_fx='sum')", "Σ v"),
        "Adds one value for each batch.",
        value=sum(batch.v for batch in batches),
        is_yours=is_yours,
    )


def _smoothed(
    epoch: Explained, tool: str, what: str, formula: str, smooth: Callable[[list[float]], list[float]]
) -> Printout:
    """Smooth over the epochs before too: these averages never begin anew."""
    batches = epoch.first_rank
    before = epoch.batches_before.get(min(epoch.ranks), [])
    values = smooth([batch.v for batch in (*before, *batches)])[len(before) :]
    reason = "It runs on from epoch to epoch"
    if epoch.before is None:
        reason += "; told as if the run began with this epoch, since those before hold more than"
        reason += f" {MAX_ROWS:,} records"
    return Printout(
        *(tool, "any", what, formula),
        f"{reason}. It forgets by batches, not by items.{say_outline(values)}",
        values=outline(values),
        is_yours=tool in epoch.frameworks,
    )


def _mean_metric(epoch: Explained, batches: Sequence[Batch]) -> Printout:
    return Printout(
        *("torchmetrics", "any", "MeanMetric", "Σ v ÷ batches"),
        "Each batch counts alike unless it is given weight=. NaN is left out with a warning.",
        value=mean_metric(batches),
        is_yours="torchmetrics" in epoch.frameworks,
    )
