"""The noise of an epoch's mean: how far it would move with other batches, a trend left out."""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from lossboard_server.domain.meaning import measure
from lossboard_server.domain.summary import Row
from lossboard_server.domain.sums import add_all

MAX_ROWS = 100_000
"""Records that are read for one answer: 1 µs each to measure, 4 µs each to read."""


def std_error_detrended(rows: Iterable[Row]) -> float | None:
    """Return √(variance from successive differences ÷ Σ n) of an epoch's rows, in order of batch.

    A batch of several ranks, or of several calls, is one. None below two batches of known
    size. Unlike `Summary.std_error` it doesn't take a falling loss for noise.
    Source: SEMANTICS §4.4, where a falling epoch's scatter read 14.7 for a true variance of 1, this 1.08.
    """
    batches: list[tuple[float, int]] = []
    place: tuple[int, int, int] | None = None
    for row in rows:
        _, m, weight = measure(row.evaluation)
        items = row.evaluation.batch_size
        if not items or not weight or not math.isfinite(m):
            continue
        before, place = place, (row.epoch, row.pass_no, row.batch)
        if place == before:
            mean, n = batches[-1]
            batches[-1] = (mean + (m - mean) * items / (n + items), n + items)
        else:
            batches.append((m, items))
    variance = difference_variance(batches)
    return None if variance is None else math.sqrt(variance / sum(n for _, n in batches))


def difference_variance(batches: Sequence[tuple[float, int]]) -> float | None:
    """Return the mean of (m′ − m)² ÷ (1/n′ + 1/n) over neighbours: the variance of one item.

    Shapes: batches (n,) of mean and items.
    """
    if len(batches) < 2:
        return None
    gaps = ((m - before, 1 / n + 1 / items) for (before, items), (m, n) in pairwise(batches))
    return add_all(gap * gap / share for gap, share in gaps) / (len(batches) - 1)
