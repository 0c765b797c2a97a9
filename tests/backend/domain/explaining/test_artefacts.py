"""Artefacts: the closed forms are the differences between the views, and say so in words."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lossboard_server.domain.explaining.artefacts import Artefact, find_artefacts, split_objective
from lossboard_server.domain.explaining.epoch import Explained
from oracle.case import batches
from oracle.epochs import epoch_of

losses = st.floats(0.01, 100)
BS3 = batches([11 / 3, 3.0, 2.0], [3, 3, 2])


def artefacts(epoch: Explained) -> dict[tuple[str, str], Artefact]:
    found = {(each.code, each.view): each for each in find_artefacts(epoch)}
    assert all(each.size is not None for each in found.values())
    return found


def size(epoch: Explained, code: str, view: str) -> float:
    """Return an artefact's size, 0 where it is negligible."""
    found = artefacts(epoch).get((code, view))
    return 0.0 if found is None or found.size is None else found.size


def difference(epoch: Explained, view: str, other: str) -> float:
    value, reference = getattr(epoch.views, view), getattr(epoch.views, other)
    assert value is not None
    assert reference is not None
    return float(value - reference)


def test_the_seed_in_threes_is_explained_in_words() -> None:
    found = artefacts(epoch_of(BS3))
    mean = found["short-last-batch", "batch_mean"]
    assert mean.size == pytest.approx(-1 / 9)
    assert mean.message == "Batch mean is 0.111 below per item because the last batch holds 2 of 3 items."
    total = found["short-last-batch", "normalized_sum"]
    assert total.size == pytest.approx(2)
    assert total.message == (
        "Normalized sum is 2 above the total: the last batch's mean 2 is counted for 1 item that it lacks."
    )


@pytest.mark.parametrize("has_rows", [True, False])
@given(st.lists(losses, min_size=2, max_size=50), st.integers(2, 64), st.data())
def test_a_short_last_batch_moves_the_mean_and_the_sum_by_its_closed_form(
    has_rows: bool, values: list[float], full: int, data: st.DataObject
) -> None:
    short = data.draw(st.integers(1, full - 1))
    epoch = epoch_of(batches(values, [full] * (len(values) - 1) + [short]), has_rows=has_rows)
    near: dict[str, Any] = {"rel": 1e-6, "abs": 1e-7}
    moved = size(epoch, "short-last-batch", "batch_mean")
    assert moved == pytest.approx(difference(epoch, "batch_mean", "per_item"), **near)
    excess = size(epoch, "short-last-batch", "normalized_sum")
    assert excess == pytest.approx(difference(epoch, "normalized_sum", "total"), **near)


@given(st.lists(st.tuples(losses, st.integers(1, 64)), min_size=2, max_size=30))
def test_uneven_batches_move_the_mean_and_the_sum(values: list[tuple[float, int]]) -> None:
    epoch = epoch_of(batches(*zip(*values, strict=True)))
    codes = {"short-last-batch", "uneven-batches"}
    for view, other in [("batch_mean", "per_item"), ("normalized_sum", "total")]:
        moved = sum(size(epoch, code, view) for code in codes)
        assert moved == pytest.approx(difference(epoch, view, other), rel=1e-6, abs=1e-6)


@given(st.lists(st.tuples(losses, st.integers(1, 64), st.integers(1, 900)), min_size=2, max_size=30))
def test_unequal_weights_move_what_does_not_weigh_by_them(values: list[tuple[float, int, int]]) -> None:
    means, sizes, weights = (list(column) for column in zip(*values, strict=True))
    # As many tokens an item in every batch: then the weights are those of the items, and only sizes differ.
    assume(any(weight * sizes[0] != weights[0] * items for items, weight in zip(sizes, weights, strict=True)))
    epoch = epoch_of(batches(means, sizes, weight=weights), weight_unit="tokens")
    for view, code in [("size_weighted", "unequal-weights"), ("batch_mean", "unequal-weights")]:
        moved = size(epoch, code, view)
        assert moved == pytest.approx(difference(epoch, view, "per_item"), rel=1e-6, abs=1e-6)


@given(
    st.lists(st.tuples(losses, st.integers(1, 900)), min_size=2, max_size=24),
    st.integers(1, 4), st.integers(1, 3),
)  # fmt: skip
def test_step_artefacts_add_up_to_what_the_objective_differs_by(
    values: list[tuple[float, int]], window: int, ranks: int
) -> None:
    assume(window > 1 or ranks > 1)
    made = []
    for place, (loss, tokens) in enumerate(values):
        batch, rank = divmod(place, ranks)
        place_of = {"epoch": 0, "batch": batch, "rank": rank, "step": batch // window}
        made.append(place_of | {"loss": loss, "batch_size": 4, "weight": tokens})
    epoch = epoch_of(made, weight_unit="tokens")
    assume(len(epoch.ranks) > 1 or epoch.accumulates)
    moved = sum(each.size or 0 for each in find_artefacts(epoch) if each.view == "step_objective")
    expected = difference(epoch, "step_objective", "per_item")
    assert moved == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert epoch.steps is not None
    assert epoch.views.per_item is not None
    assert sum(split_objective(epoch.steps, epoch.views.per_item)) == pytest.approx(expected, abs=1e-9)


def test_ranks_that_hold_unequal_tokens_are_told() -> None:
    epoch = epoch_of(
        [*batches([4.0], [2], rank=0, weight=6), *batches([1.0], [2], rank=1, weight=2)],
        weight_unit="tokens",
    )
    found = artefacts(epoch)["rank-imbalance", "step_objective"]
    assert found.size == pytest.approx(-0.75)
    assert found.message == (
        "Step objective is 0.75 below the mean per token of its steps: the ranks of a step count alike,"
        " though they hold 2 to 6 tokens."
    )


def test_a_leftover_window_is_told() -> None:
    epoch = epoch_of(batches([4.0, 2.0, 6.0], [2] * 3, step=[0, 0, 1]))
    found = artefacts(epoch)["leftover-window", "step_objective"]
    assert found.size == pytest.approx(0.5)
    assert found.message == (
        "The last step holds 1 of 2 micro-batches and counts as a whole one,"
        " which moves the step objective by 0.5."
    )


def test_micro_batches_that_hold_unequal_tokens_are_told() -> None:
    epoch = epoch_of(batches([4.0, 1.0], [2, 2], weight=[6, 1], step=0), weight_unit="tokens")
    found = artefacts(epoch)["unequal-micro-batches", "step_objective"]
    assert found.size == pytest.approx(5 / 2 - 25 / 7)
    assert "micro-batches of a step count alike, though they hold 1 to 6 tokens" in found.message


@pytest.mark.parametrize("has_rows", [True, False])
def test_calls_of_one_batch_add_up_in_the_objective(has_rows: bool) -> None:
    records = batches([1.0, 3.0, 2.0, 4.0], [2] * 4)
    for number, record in enumerate(records):
        record["batch"] = number // 2
    epoch = epoch_of(records)
    found = artefacts(epoch if has_rows else replace(epoch, rows=None))
    assert found["several-calls", "step_objective"].size == pytest.approx(5 - 2.5)
    assert "called several times for a batch" in found["several-calls", "step_objective"].message


def test_a_window_that_is_not_what_its_step_holds_is_told() -> None:
    window: dict[str, Any] = {"reduction": "sum_over_window", "weight": [3, 5], "window_items": 4, "step": 0}
    found = artefacts(epoch_of(batches([1.0, 2.0], [2, 2], **window), weight_unit="tokens"))
    message = found["window-differs", "step_objective"].message
    assert "what their losses were divided by is not the tokens that they hold" in message
    assert "count alike" not in message


def test_weights_of_items_are_not_told_as_items() -> None:
    told = artefacts(epoch_of(batches([1.0, 2.0, 4.0], [4] * 3, weight=[1, 2, 1])))
    assert "divided by weights of its own" in told["unequal-weights", "size_weighted"].message
    assert told["weight-unit", "normalized_sum"].message.endswith("divided by a weight of 4.")


def test_sizes_beyond_the_doubles_are_not_told() -> None:
    assert not artefacts(epoch_of(batches([1e308, -1e308, 1e308], [4, 4, 1])))


def test_an_objective_from_summaries_alone_is_told_as_a_whole() -> None:
    made = [*batches([4.0], [2], rank=0, weight=6), *batches([1.0], [2], rank=1, weight=2)]
    found = artefacts(epoch_of(made, weight_unit="tokens", has_rows=False))
    assert found["rank-imbalance", "step_objective"].size == pytest.approx(-0.75)


def test_full_batches_of_items_have_no_artefact() -> None:
    assert find_artefacts(epoch_of(batches([4.5, 3.0, 2.5, 2.0], [2] * 4))) == []


def test_an_epoch_without_a_value_has_no_artefact() -> None:
    assert find_artefacts(epoch_of(batches(["NaN", "NaN"], [2, 1]))) == []


def test_weights_that_are_no_items_make_the_normalized_sum_no_total() -> None:
    found = artefacts(epoch_of(batches([3.6, 2.5], [2, 2], weight=[5, 2]), weight_unit="tokens"))
    assert found["weight-unit", "normalized_sum"].message == (
        "Normalized sum is no total: it counts 4 items, the loss was divided by 7 tokens."
    )
    assert found["unequal-weights", "size_weighted"].message == (
        "Size weighted is 0.236 below per token: it weighs batches by their items,"
        " while the loss was divided by tokens, 1 to 2.5 an item."
    )


def test_elements_in_proportion_to_items_are_told_as_items() -> None:
    # The seed in threes, each item an image of 10 elements.
    epoch = epoch_of(batches([11 / 3, 3.0, 2.0], [3, 3, 2], weight=[30, 30, 20]), weight_unit="elements")
    found = artefacts(epoch)
    assert set(found) == {("short-last-batch", "batch_mean"), ("weight-unit", "normalized_sum")}
    assert found["short-last-batch", "batch_mean"].message == (
        "Batch mean is 0.111 below per element because the last batch holds 2 of 3 items."
    )


def test_validation_makes_no_steps_though_its_records_name_one() -> None:
    epoch = epoch_of(batches([4.0, 1.0], [2, 2], weight=[6, 1], step=7), series="val/loss")
    assert (epoch.steps, epoch.extent.steps) == (None, None)
    assert not any(view == "step_objective" for _, view in artefacts(epoch))
