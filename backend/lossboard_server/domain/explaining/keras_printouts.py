"""What Keras would have printed for an epoch, by version: its bar, its last line, its history, its logs.

Source: SEMANTICS §3.1, measured there on twelve versions with the first seed's items.
"""

from collections.abc import Iterator, Mapping, Sequence

from lossboard_server.domain.explaining.epoch import Explained
from lossboard_server.domain.explaining.printouts import (
    Batch,
    average_so_far,
    batch_mean,
    final_line,
    means_between,
    running_batch_means,
    running_item_means,
)
from lossboard_server.domain.explaining.tools import Printout, find_version, outline, say_outline
from lossboard_server.domain.explaining.wording import say
from lossboard_server.domain.meaning import Reduction

KERAS = "Keras"
HISTORY = "history['loss']"
LOGS = "logs['loss'] in on_batch_end"
LAST_LINE = ("last line of the bar", "(Σ of the running means + the epoch's mean) ÷ (batches + 1)")
LINES_EVERY = 4  # steps between two lines of the third seed's bar
RIDDLE = (
    "Keras' bar shows running averages and is painted at most every 0.05 s, so steps are skipped"
    " (1/24, 5/24, 9/24 …): a number beside 5/24 averages 5 batches, nothing was added up in fours."
)


def find_generation(frameworks: Mapping[str, str]) -> str | None:
    """Return which generation of Keras a run used, named by its first version; None where it used none.

    Keras by itself up to 2.3 and tf.keras up to 2.1 are "2.0", tf.keras from 2.2 on "2.2".
    """
    version = find_version(frameworks, "keras", "tf_keras")
    if version is not None and not version:
        return None  # "nightly" may be any
    if version is None or version[0] < 2:
        version = find_version(frameworks, "tensorflow")
        return None if not version else "2.2" if version >= (2, 2) else "2.0"
    if version < (3,):
        return "2.2" if version >= (2, 4) else "2.0"
    for first in (15, 11, 2):
        if version >= (3, first):
            return f"3.{first}"
    return "3.0"


def print_training(epoch: Explained, batches: Sequence[Batch]) -> Iterator[Printout]:
    """Yield what `fit` shows of a training epoch."""
    yours = find_generation(epoch.frameworks)
    running = running_item_means(batches)
    yield from _print_bars(yours, running)
    yield Printout(
        *(KERAS, "3.2–3.10", *LAST_LINE),
        f"The finished bar averages the epoch's value in once more: it is not {HISTORY}.",
        value=final_line(running, running[-1]),
        is_yours=yours == "3.2",
    )
    yield Printout(
        *(KERAS, "2.x and ≥ 3.2", f"{HISTORY}; in 2.x and from 3.11 on the bar's last line", "Σ n·v ÷ Σ n"),
        "Each batch's value counts by its items." + _say_sums(epoch),
        value=running[-1],
        is_yours=yours not in (None, "3.0"),
    )
    yield from _print_unweighted(yours, batches)
    yield from _print_logs(yours, batches, running)


def print_validation(epoch: Explained, batches: Sequence[Batch]) -> Iterator[Printout]:
    """Yield val_loss of the versions in which it is no mean by items."""
    yield Printout(
        *(KERAS, "3.0–3.1", "val_loss", "Σ v ÷ batches"),
        "These versions average the batches' values, a short batch counting as a full one.",
        value=batch_mean(batches),
        is_yours=find_generation(epoch.frameworks) == "3.0",
    )


def answer_riddle(epoch: Explained) -> str | None:
    """Explain the bar of a run that used Keras, with its own numbers where it has five batches."""
    if find_generation(epoch.frameworks) is None or not epoch.is_training:
        return None
    batches = epoch.first_rank
    if len(batches) <= LINES_EVERY:
        return RIDDLE
    running = running_item_means(batches)
    sizes = [batch.items for batch in batches]
    counts = [sizes[0], sum(sizes[: LINES_EVERY + 1])]
    first, second = running[0], running[LINES_EVERY]
    between = means_between(counts, [first, second])[1]
    return (
        f"{RIDDLE} Here the running mean is {say(first)} after 1 batch and {say(second)} after"
        f" {LINES_EVERY + 1}: the {LINES_EVERY} between average {say(between)}."
    )


def _print_bars(yours: str | None, running: list[float]) -> Iterator[Printout]:
    averaged = average_so_far(running)
    yield Printout(
        *(KERAS, "2.x and ≥ 3.15", "bar while the epoch runs", "Σ n·v ÷ Σ n so far"),
        "The average over the epoch so far, so it lags behind the loss. Painted at most every 0.05 s,"
        f" so quick steps are skipped.{say_outline(running)}",
        values=outline(running),
        is_yours=yours in ("2.0", "2.2", "3.15"),
    )
    yield Printout(
        *(KERAS, "3.2–3.14", "bar while the epoch runs", "average so far of the running means"),
        "The bar averages again what are running means already, and lags twice (issue 21301)."
        f" Painted at most every 0.05 s.{say_outline(averaged)}",
        values=outline(averaged),
        is_yours=yours in ("3.2", "3.11"),
    )


def _print_unweighted(yours: str | None, batches: Sequence[Batch]) -> Iterator[Printout]:
    running = running_batch_means(batches)
    averaged = average_so_far(running)
    is_yours = yours == "3.0"
    yield Printout(
        *(KERAS, "3.0–3.1", "bar while the epoch runs", "average so far of the running means"),
        f"As in 3.2, but of means that count each batch alike.{say_outline(averaged)}",
        values=outline(averaged),
        is_yours=is_yours,
    )
    yield Printout(
        *(KERAS, "3.0–3.1", *LAST_LINE),
        f"The finished bar averages the epoch's value in once more: it is not {HISTORY}.",
        value=final_line(running, running[-1]),
        is_yours=is_yours,
    )
    yield Printout(
        *(KERAS, "3.0–3.1", HISTORY, "Σ v ÷ batches"),
        "These versions average the batches' values, a short batch counting as a full one.",
        value=batch_mean(batches),
        is_yours=is_yours,
    )


def _print_logs(yours: str | None, batches: Sequence[Batch], running: list[float]) -> Iterator[Printout]:
    values = [batch.v for batch in batches]
    yield Printout(
        *(KERAS, "Keras ≤ 2.3, tf.keras ≤ 2.1", LOGS, "v"),
        f"Only these versions hand a callback the batch's own value.{say_outline(values)}",
        values=outline(values),
        is_yours=yours == "2.0",
    )
    yield Printout(
        *(KERAS, "tf.keras ≥ 2.2, Keras ≥ 3.2", LOGS, "Σ n·v ÷ Σ n so far"),
        "A running mean, not the batch's value. Keras 3.0 and 3.1 count each batch alike in it."
        f"{say_outline(running)}",
        values=outline(running),
        is_yours=yours in ("2.2", "3.2", "3.11", "3.15"),
    )


def _say_sums(epoch: Explained) -> str:
    if epoch.reduction is Reduction.SUM:
        return " Of a summed loss that is a mean of sums, and neither the total nor the mean."
    return epoch.say_weights()
