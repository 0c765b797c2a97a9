"""What the Trainer of Hugging Face would have logged of a training epoch, by version and model."""

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

from lossboard_server.domain.explaining.epoch import Explained
from lossboard_server.domain.explaining.printouts import Batch, trainer_sum, trainer_windows
from lossboard_server.domain.explaining.tools import Printout, find_version
from lossboard_server.domain.explaining.wording import count
from lossboard_server.domain.meaning import Reduction
from lossboard_server.domain.noise import MAX_ROWS

TRAINER = "Hugging Face Trainer"
AVERAGES_TOKENS = (4, 46)  # from here on losses are divided by the whole window's tokens (PR 34191)
LOGGED = "loss, logged once an epoch"
STEPS = "Each step counts alike, whatever it holds"


def print_training(epoch: Explained) -> Iterator[Printout]:
    """Yield what the Trainer logs of a training epoch, and at the end of the run."""
    version = find_version(epoch.frameworks, "transformers")
    is_recent = version is not None and version >= AVERAGES_TOKENS
    if epoch.reduction is Reduction.SUM_OVER_WINDOW:
        yield Printout(
            *(TRAINER, "≥ 4.46", LOGGED, "Σ v ÷ steps"),
            f"Micro-batches are shares of the mean per token of their step. {STEPS}.{_say_filter(epoch)}",
            value=_log(epoch, "shares"),
            is_yours=is_recent,
        )
        yield _print_end(epoch, "shares", is_recent)
        return
    yield Printout(
        *(TRAINER, "any", LOGGED, "mean over steps of Σ v ÷ micro-batches"),
        f"{STEPS}, and so does each micro-batch of a step; from 4.46 on not in models that take"
        f" num_items_in_batch.{_say_filter(epoch)}",
        value=_log(epoch, "means"),
        is_yours=version is not None,
    )
    if epoch.accumulates and epoch.merged.count and not epoch.merged.unweighted:
        yield Printout(
            *(TRAINER, "≥ 4.46, models that take num_items_in_batch"),
            *(LOGGED, "mean over steps of Σ w·m ÷ Σ w"),
            f"A step's micro-batches count by their {epoch.units}. {STEPS}.{_say_filter(epoch)}",
            value=_log(epoch, "pooled"),
            is_yours=is_recent,
        )
    yield _print_end(epoch, "means", version is not None)


def _print_end(epoch: Explained, way: str, is_yours: bool) -> Printout:
    reason = "It goes over all steps since the start of the run, whatever the loss is now."
    value = None
    if epoch.before is None:
        reason += f" The epochs before hold more than {MAX_ROWS:,} records, so it isn't worked out."
    else:
        logs = [_add(each, way) for each in _split_epochs(epoch)]
        value = sum(total for total, _ in logs) / sum(steps for _, steps in logs)
    return Printout(
        *(TRAINER, "any", "train_loss, if the run ended here", "Σ of the steps' losses ÷ all steps"),
        reason,
        value=value,
        is_yours=is_yours,
    )


def _split_epochs(epoch: Explained) -> Iterator[list[list[Batch]]]:
    """Yield each epoch's ranks, this one last: the Trainer's filter begins anew with each log."""
    before: dict[int, list[list[Batch]]] = {}
    for batches in epoch.batches_before.values():
        for number, group in groupby(batches, lambda batch: batch.epoch):
            before.setdefault(number, []).append(list(group))
    yield from before.values()
    yield list(epoch.batches.values())


def _log(epoch: Explained, way: str) -> float:
    total, steps = _add(list(epoch.batches.values()), way)
    return total / steps


def _add(ranks: Sequence[Sequence[Batch]], way: str) -> tuple[float, int]:
    """Return the Trainer's sum of one epoch's steps, averaged over ranks, and the number of steps."""
    cuts = [trainer_windows(batches, way) for batches in ranks]
    return sum(trainer_sum(windows) for windows in cuts) / len(cuts), max(len(windows) for windows in cuts)


def _say_filter(epoch: Explained) -> str:
    values = (batch.v for of_rank in epoch.batches.values() for batch in of_rank)
    broken = sum(not math.isfinite(value) for value in values)
    if not broken:
        return ""
    return (
        f" Its filter replaces what came out NaN or infinite ({count(broken, 'batch', 'batches')}) by the"
        " average so far, divided once too often: the loss seems to fall."
    )
