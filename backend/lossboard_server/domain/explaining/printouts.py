"""The arithmetic of what frameworks print: what each makes of the values that its loss returned.

All of it takes the values v as returned, not our means, and lets NaN through where the
framework does. In doubles; the frameworks' float32 differs from the seventh digit on.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby

from lossboard_server.domain.meaning import measure
from lossboard_server.domain.summary import Row


@dataclass(slots=True)
class Batch:
    """One batch as the framework saw it: its value, its items, and the optimizer step that it is part of.

    `weighted` and `weight` are those of `Summary`: what a pooled mean takes.
    """

    v: float
    items: int
    step: int
    weighted: float = math.nan
    weight: float = 0.0
    epoch: int = 0

    def add(self, call: "Batch") -> None:
        """Add another call of the same batch."""
        self.v += call.v
        self.items = max(self.items, call.items)
        self.weighted += call.weighted
        self.weight += call.weight


def batches_of(rows: Iterable[Row]) -> list[Batch]:
    """Return the batches of one rank's rows in their order; calls of one batch add up, as in backward.

    Steps are numbered from 0 as they come; untold, each batch is one. Of an undeclared size
    each batch counts as one item.
    """
    found: list[Batch] = []
    place: tuple[int, int, int] | None = None
    step, told = -1, None
    for row in rows:
        v, m, weight = measure(row.evaluation)
        size, weight = row.evaluation.batch_size or 1, weight or 0.0
        batch = Batch(v, size, step, weight * m if weight else 0.0, weight, row.epoch)
        before, place = place, (row.epoch, row.pass_no, row.batch)
        if place == before:
            found[-1].add(batch)
            continue
        if row.step is None or row.step != told:
            step, told = step + 1, row.step
        batch.step = step
        found.append(batch)
    return found


def running_item_means(batches: Sequence[Batch]) -> list[float]:
    """Average so far, batch by batch, weighted by items: Keras from 2.2 on, but for 3.0 and 3.1."""
    sums = accumulate(batch.items * batch.v for batch in batches)
    items = accumulate(batch.items for batch in batches)
    return [total / n for total, n in zip(sums, items, strict=True)]


def running_batch_means(batches: Sequence[Batch]) -> list[float]:
    """Average so far, each batch counting alike: Keras 3.0 and 3.1, ultralytics' tloss."""
    return average_so_far([batch.v for batch in batches])


def average_so_far(values: Iterable[float]) -> list[float]:
    """Average all values up to each: of running means, what the bar of Keras 3.0 to 3.14 shows."""
    return [total / number for number, total in enumerate(accumulate(values), 1)]


def final_line(running: Sequence[float], reported: float) -> float:
    """Return the last line of the bar of Keras 3.0 to 3.10: the epoch's value averaged in once more."""
    return (sum(running) + reported) / (len(running) + 1)


def means_between(counts: Sequence[int], running: Sequence[float]) -> list[float]:
    """Take a bar's lines apart: the mean of what came between two of them.

    Shapes: counts and running (n,): after how many items each line was painted, and its value.
    """
    sums = [0.0, *(n * mean for n, mean in zip(counts, running, strict=True))]
    return [
        (after - before) / (n - m)
        for before, after, m, n in zip(sums, sums[1:], [0, *counts], counts, strict=False)
    ]


def item_mean(batches: Sequence[Batch]) -> float:
    """Average weighted by items: what most frameworks call an epoch's loss."""
    return running_item_means(batches)[-1]


def batch_mean(batches: Sequence[Batch]) -> float:
    """Average of the batches, each counting alike."""
    return sum(batch.v for batch in batches) / len(batches)


def mean_metric(batches: Sequence[Batch]) -> float | None:
    """Average as torchmetrics' MeanMetric without weight does: NaN is left out, ±∞ is not."""
    values = [batch.v for batch in batches if batch.v == batch.v]
    return sum(values) / len(values) if values else None


def debiased_average(values: Iterable[float], beta: float, *, skips_nonfinite: bool = False) -> list[float]:
    """Smooth by forgetting, corrected for the start: fastai's smooth_loss, TensorBoard's slider."""
    total, weight = 0.0, 0.0
    found = []
    for value in values:
        if skips_nonfinite and not math.isfinite(value):
            found.append(value)
            continue
        total = beta * total + (1 - beta) * value
        weight = beta * weight + (1 - beta)
        found.append(total / weight)
    return found


def running_average(values: Iterable[float], alpha: float) -> list[float]:
    """Smooth by forgetting from the first value on: ignite's RunningAverage."""
    return list(accumulate(values, lambda so_far, value: alpha * so_far + (1 - alpha) * value))


def trainer_windows(batches: Sequence[Batch], way: str) -> list[list[float]]:
    """Cut batches into optimizer steps, each with what Hugging Face's Trainer adds to its loss for them.

    `way`: "means", a micro-batch's value over the number of them; "shares", its value, which
    is a share of the step's mean already; "pooled", its share of the step's mean per unit of
    weight (models that take num_items_in_batch).
    """
    windows = []
    for _, group in groupby(batches, lambda batch: batch.step):
        window = list(group)
        if way == "pooled":
            weight = sum(batch.weight for batch in window)
            windows.append([batch.weighted / weight if weight else math.nan for batch in window])
        else:
            windows.append([batch.v / (1 if way == "shares" else len(window)) for batch in window])
    return windows


def trainer_sum(windows: Sequence[Sequence[float]]) -> float:
    """Add up steps as the Trainer does until it logs, its NaN filter on; divided by the steps it is its loss.

    A micro-batch that isn't finite adds the average so far once more (SEMANTICS §3.3).
    """
    total = 0.0
    for step, window in enumerate(windows):
        for value in window:
            total += value if math.isfinite(value) else total / (1 + step)
    return total
