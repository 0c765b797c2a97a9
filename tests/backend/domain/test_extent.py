"""What an epoch covers: steps, accumulation, coverage, ranks."""

from typing import Any

import pytest

from lossboard_server.domain.extent import Extent, measure_extent
from lossboard_server.domain.summary import merge_all
from oracle.rows import by_rank, rows_of


def extent(records: list[dict[str, Any]], **traits: Any) -> Extent:
    ranks = by_rank(rows_of(records))
    return measure_extent(ranks, merge_all(ranks.values()), traits)


def records(count: int, window: int | None = None, loss: float = 2.0, **more: Any) -> list[dict[str, Any]]:
    return [
        {"epoch": 0, "batch": batch, "loss": loss, "batch_size": 4}
        | ({} if window is None else {"step": 5 + batch // window})
        | more
        for batch in range(count)
    ]


def test_steps_are_counted_where_the_client_told_them() -> None:
    assert (extent(records(8, 2)).steps, extent(records(8, 2)).accumulation) == (4, 2.0)
    assert (extent(records(3, 2)).steps, extent(records(3, 2)).accumulation) == (2, 1.5)
    assert (extent(records(8)).steps, extent(records(8)).accumulation) == (None, None)


def test_ranks_side_by_side_do_not_make_more_steps() -> None:
    found = extent([*records(4, 2, rank=0), *records(4, 2, rank=1)])
    assert (found.steps, found.accumulation) == (2, 2.0)


def test_coverage_counts_what_was_seen_on_all_ranks() -> None:
    assert extent(records(4), dataset_items=20).coverage == 0.8
    assert extent([*records(1, rank=0), *records(1, rank=1)], dataset_items=7).coverage == pytest.approx(
        8 / 7
    )
    assert extent(records(4)).coverage is None


def test_ranks_are_told_one_by_one_with_their_spread() -> None:
    found = extent(
        [*records(2, rank=0), *records(2, loss=2.5, rank=1), *records(1, loss=float("nan"), rank=2)]
    )
    assert [(rank.rank, rank.per_item, rank.batches, rank.items) for rank in found.ranks] == [
        (0, 2.0, 2, 8), (1, 2.5, 2, 8), (2, None, 0, 0),
    ]  # fmt: skip
    assert found.rank_spread == 0.5
    assert (extent(records(2)).ranks, extent(records(2)).rank_spread) == ([], None)


def test_resolution_is_told_for_coarse_types_only() -> None:
    assert extent(records(2, loss=2.3), dtype="bfloat16").resolution == 1 / 64
    assert extent(records(2, loss=-2.3), dtype="bfloat16").resolution == 1 / 64
    assert extent(records(2, loss=2.3), dtype="float32").resolution is None
    assert extent(records(2, loss=float("nan")), dtype="bfloat16").resolution is None
