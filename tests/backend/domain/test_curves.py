"""Curves: no extreme lost, edges that stay, axes of what was seen."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lossboard_server.domain.curves import Standing, choose_width, draw
from lossboard_server.domain.meaning import Evaluation, Reduction
from lossboard_server.domain.points import Points, bucket_rows, group_epochs, point_of
from lossboard_server.domain.summary import Row, summarise


def row(epoch: int, batch: int, loss: float, size: int = 2, rank: int = 0, time: float | None = None) -> Row:
    return Row(epoch, batch, rank, Evaluation(loss, size, None, None, None, Reduction.MEAN), None, time)


def line(count: int, spike_at: int | None = None) -> list[Row]:
    return [row(0, batch, 1e6 if batch == spike_at else 1.0, time=float(batch)) for batch in range(count)]


def buckets(rows: list[Row], width: int) -> Points:
    seen: dict[tuple[int, int], set[int]] = {}
    for each in rows:
        seen.setdefault((each.epoch, each.pass_no), set()).add(each.rank)
    return bucket_rows(rows, width, {place: len(ranks) for place, ranks in seen.items()})


@given(st.integers(0, 4999), st.sampled_from([1, 16, 64, 256]))
def test_spike_survives_every_width(spike_at: int, width: int) -> None:
    curve = draw(buckets(line(5000, spike_at), width), "batch", Standing())
    assert max(high for high in curve.high if high is not None) == 1e6
    assert sum(curve.count) == 5000


def test_edges_stay_while_records_arrive() -> None:
    before, after = buckets(line(100), 16).rows, buckets(line(1000), 16).rows
    assert before[:-1] == after[: len(before) - 1]
    assert len(before) == 7


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=30), st.integers(40, 1000))
def test_width_fits_the_points_asked_for(lengths: list[int], points: int) -> None:
    width = choose_width([(length, 0, length) for length in lengths], points)
    assert width is not None
    assert sum(-(-length // width) for length in lengths) <= points


def test_more_epochs_than_points_need_buckets_of_epochs() -> None:
    assert choose_width([(1, 0, 1)] * 100, 10) is None
    epochs = (point_of(summarise([row(epoch, 0, float(epoch))]), (epoch, 0), 0, 1) for epoch in range(100))
    merged = list(group_epochs(epochs, 16))
    assert len(merged) == 7
    curve = draw(Points(merged, spans_epochs=True), "batch", Standing())
    assert curve.running == [None] * 7
    assert (curve.low[0], curve.high[0]) == (0.0, 15.0)


def test_average_in_a_bucket_is_weighted_and_never_an_average_of_averages() -> None:
    # oracle: downsample_two_batches_per_bucket; the short batch must not weigh as a full one
    rows = [row(0, 0, 11 / 3, 3), row(0, 1, 3.0, 3), row(0, 2, 2.0, 2)]
    assert draw(buckets(rows, 16), "batch", Standing()).batch_view == [pytest.approx(3.0, rel=1e-15)]


def test_running_mean_starts_anew_each_epoch() -> None:
    rows = [row(0, 0, 4.0), row(0, 1, 2.0), row(1, 0, 1.0)]
    assert draw(buckets(rows, 1), "batch", Standing()).running == [4.0, 3.0, 1.0]


def test_axes_count_what_was_seen_a_nan_included() -> None:
    rows = [row(0, 0, 4.0, 2), row(0, 1, math.nan, 2), row(0, 2, 3.0, 1)]
    curve = draw(buckets(rows, 1), "items", Standing())
    assert curve.x == [2, 4, 5]
    assert curve.batch_view == [4.0, None, 3.0]
    assert [(event.x, event.batch) for event in curve.events] == [(4, 1)]
    assert draw(buckets(rows, 1), "batch", Standing(batches=10.0)).x == [11, 12, 13]


def test_ranks_advance_the_batch_axis_together() -> None:
    rows = [row(0, batch, 1.0, rank=rank) for batch in range(3) for rank in range(2)]
    assert draw(buckets(rows, 1), "batch", Standing()).x == [1, 2, 3]


def test_one_rank_ahead_of_another_does_not_stretch_the_batch_axis() -> None:
    rows = [row(0, 0, 1.0), row(0, 0, 1.0, rank=1), row(0, 1, 1.0), row(0, 2, 1.0)]
    assert draw(buckets(rows, 1), "batch", Standing()).x == [1, 1.5, 2]
    assert draw(buckets(rows, 16), "batch", Standing()).x == [2]
