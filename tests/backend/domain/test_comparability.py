"""The reasons why curves can't be compared, in the runs' own numbers."""

from dataclasses import replace
from typing import Any

import pytest

from lossboard_server.domain.comparability import Facts, Reason, compare

TEN = Facts("a", "ten", "train/loss", "mean", "items", "exact", batch_size=10, batches=144, items=1437)
TWENTY = replace(TEN, run="b", name="twenty", batch_size=20, batches=72)
AGAIN = replace(TEN, run="b", name="again")
VAL = replace(TEN, series="val/loss", batches=4)
COUPLED = replace(TEN, reduction="unknown", weight_source="probed", finding="batch_coupled")


def codes(*facts: Facts) -> list[str]:
    return [reason.code for reason in compare(facts)]


def only(*facts: Facts) -> Reason:
    (reason,) = compare(facts)
    return reason


def test_runs_alike_have_no_warning() -> None:
    assert codes(TEN, AGAIN) == []


def test_batch_sizes_are_told_with_their_numbers_and_the_way_out() -> None:
    reason = only(TEN, TWENTY)
    assert (reason.code, reason.views, reason.runs) == ("batch-size-differs", ["raw_sum"], ["a", "b"])
    assert "ten into 144 of 10" in reason.message
    assert "twenty into 72 of 20" in reason.message
    assert "2 times as high" in reason.message
    assert reason.suggest == {"view": "per_item"}


def test_splits_of_one_run_are_told_apart_in_raw_sum() -> None:
    reason = only(TEN, VAL)
    assert (reason.code, reason.views) == ("splits-differ", ["raw_sum"])
    assert "144 in train and 4 in val" in reason.message
    assert codes(TEN, VAL, TWENTY) == ["batch-size-differs"]


def test_splits_over_different_things_are_told_apart_in_every_view() -> None:
    reason = only(replace(TEN, batches=None), replace(VAL, weight_unit="tokens"))
    assert (reason.code, reason.views) == ("weight-unit-differs", [])
    assert "ten per item in train, per token in val" in reason.message


def test_validation_is_compared_with_validation() -> None:
    other = replace(VAL, run="b", name="again", batch_size=5, batches=4)
    reason = only(replace(TEN, batches=4), VAL, replace(AGAIN, batches=4), other)
    assert reason.code == "batch-size-differs"
    assert "ten in val into 4 of 10; again in val into 4 of 5" in reason.message


def test_summed_losses_of_other_batch_sizes_compare_in_raw_sum() -> None:
    assert codes(replace(TEN, reduction="sum"), replace(TWENTY, reduction="sum")) == []


def test_other_reduction_unit_and_data_are_told() -> None:
    other = replace(TEN, run="b", name="other", reduction="sum", weight_unit="tokens", items=99)
    assert codes(TEN, other) == ["items-differ", "reduction-differs", "weight-unit-differs"]


def test_unknown_meaning_and_undeclared_epochs_are_told_of_a_single_run() -> None:
    assert codes(replace(TEN, reduction="unknown", is_declared=False)) == [
        "meaning-undeclared",
        "epoch-undeclared",
    ]


def test_weight_that_is_not_the_batch_size_makes_the_normalized_sum_no_total() -> None:
    assert codes(replace(TEN, weight_unit="tokens", weight_differs=True)) == ["weight-unit"]


def test_items_of_other_weights_are_not_called_a_mean_per_item() -> None:
    message = only(replace(TEN, weight_differs=True)).message
    assert "ten is weighted by something else" in message
    assert "per item" not in message


@pytest.mark.parametrize("finding", ["batch_coupled", "non_linear"])
def test_loss_without_a_mean_per_item_is_never_overlaid_in_silence(finding: str) -> None:
    coupled = replace(COUPLED, finding=finding)
    code = finding.replace("_", "-")
    apart = only(coupled, replace(coupled, run="b", name="twenty", batch_size=20))
    assert (apart.code, apart.views, apart.axes, apart.runs) == (code, [], [], ["a", "b"])
    assert apart.suggest == {"layout": "side"}
    assert "ten in batches of 10; twenty in batches of 20" in apart.message
    beside_val = only(replace(coupled, batches=None), replace(coupled, series="val/loss", batch_size=50))
    assert (beside_val.code, beside_val.suggest) == (code, {"layout": "side"})
    assert "ten in val in batches of 50" in beside_val.message


def test_coupled_losses_of_equal_batches_compare_and_are_told_to() -> None:
    reason = only(COUPLED, replace(COUPLED, run="b", name="again"))
    assert (reason.code, reason.suggest) == ("batch-coupled", {"view": "batch"})
    assert "only equal batch sizes compare" in reason.message
    assert codes(COUPLED) == ["batch-coupled"], "a single one too, before another comes beside it"


def test_coupled_loss_beside_another_kind_is_no_overlay() -> None:
    reason = only(COUPLED, AGAIN)
    assert (reason.code, reason.suggest, reason.runs) == ("batch-coupled", {"layout": "side"}, ["a", "b"])
    assert "again with another kind of loss" in reason.message


def test_loss_that_does_not_look_at_the_batch_has_its_own_sentence() -> None:
    reason = only(replace(COUPLED, finding="constant"))
    assert (reason.code, reason.suggest) == ("non-linear", {"view": "batch"})
    assert "does not depend on what is in the batch" in reason.message


def test_different_numbers_of_ranks_are_told_where_ranks_are_averaged() -> None:
    reason = only(replace(TEN, ranks=1), replace(AGAIN, ranks=4, batches=36))
    assert (reason.code, reason.views) == ("world-size-differs", ["raw_sum", "step_objective"])
    assert "ten on 1 rank, 144 batches an epoch; again on 4 ranks, 36 batches" in reason.message
    assert reason.suggest == {"view": "per_item"}


def test_ranks_that_share_a_batch_compare_in_raw_sum() -> None:
    shared = replace(AGAIN, batch_size=5, ranks=2)
    assert only(replace(TEN, ranks=1), shared).views == ["step_objective"]
    running = only(replace(TEN, ranks=1), replace(shared, batches=None))
    assert running.views == ["raw_sum", "step_objective"]
    sizes, ranks = compare([replace(TEN, ranks=1), replace(shared, batch_size=20, batches=36)])
    assert "again into 36 of 2 × 20" in sizes.message
    assert (sizes.code, ranks.views) == ("batch-size-differs", ["raw_sum", "step_objective"])


def test_summed_losses_of_other_numbers_of_ranks_compare_in_raw_sum() -> None:
    summed = replace(TEN, reduction="sum", ranks=1)
    assert only(summed, replace(summed, run="b", ranks=2)).views == ["step_objective"]


def test_accumulation_is_told_in_its_view_and_on_its_axis() -> None:
    in_view, on_axis = compare([replace(TEN, accumulation=1.0), replace(AGAIN, accumulation=4.0)])
    assert (in_view.code, on_axis.code) == ("accumulation-differs", "accumulation-differs")
    assert (in_view.views, in_view.axes, in_view.suggest) == (["step_objective"], [], {"view": "per_item"})
    assert (on_axis.views, on_axis.axes, on_axis.suggest) == ([], ["step"], {"x": "items"})
    assert "ten 1 micro-batch of 10; again 4 micro-batches of 10" in on_axis.message


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.02), (4.0, 10 / 3)])
def test_skipped_steps_and_leftover_windows_are_no_other_accumulation(a: float, b: float) -> None:
    assert codes(replace(TEN, accumulation=a), replace(AGAIN, accumulation=b)) == []


def test_coverage_is_told_with_what_each_run_saw() -> None:
    dropped = replace(TEN, batch_size=8, batches=2, items=16, dataset_items=20)
    whole = replace(AGAIN, batch_size=8, batches=3, items=20, dataset_items=20)
    twice = replace(AGAIN, run="c", name="twice", batch_size=8, batches=3, items=21, dataset_items=20)
    (reason,) = [each for each in compare([dropped, whole, twice]) if each.code == "coverage-differs"]
    assert "ten saw 16 of 20 items (drop_last); again saw all 20 items" in reason.message
    assert "twice saw 21 of 20 items, 1 counted again" in reason.message
    assert (reason.views, reason.axes, reason.suggest) == ([], ["epoch"], {"x": "items"})
    early = replace(dropped, items=4)
    assert "(drop_last)" not in compare([early, whole])[-1].message


def test_same_coverage_is_no_reason() -> None:
    dropped = replace(TEN, items=1430, dataset_items=1437)
    assert codes(dropped, replace(dropped, run="b")) == []


@pytest.mark.parametrize(
    ("source", "said"),
    [("assumed", "assumed to be its batch sizes"), ("unknown", "unseen, and batch sizes stand for them")],
)
def test_weights_on_trust_beside_known_ones_are_told(source: str, said: str) -> None:
    reason = only(TEN, replace(AGAIN, weight_source=source))
    assert (reason.code, reason.suggest) == ("weight-unknown", {"view": "batch_mean"})
    assert "per_item" in reason.views
    assert f"again's are {said}" in reason.message
    assert codes(replace(TEN, weight_source=source), replace(AGAIN, weight_source=source)) == []


@pytest.mark.parametrize(("level", "told"), [(2.302, ["resolution"]), (2.4, []), (None, ["resolution"])])
def test_rounding_that_could_make_the_difference_is_told(level: float | None, told: list[str]) -> None:
    rough: dict[str, Any] = {"dtype": "bfloat16", "resolution": 1 / 64, "level": 2.3, "std_error": 0.003}
    found = compare([replace(TEN, **rough), replace(AGAIN, level=level)])
    assert [reason.code for reason in found] == told
    if told:
        assert "bfloat16, whose values lie 0.0156 apart" in found[0].message
        assert ("0.003" if level is None else "0.002") in found[0].message


def test_parts_that_miss_their_total_are_told_in_per_cent() -> None:
    reason = only(replace(TEN, parts_gap=0.032))
    assert reason.code == "parts-disagree"
    assert "ten by up to 3.2 %" in reason.message
    assert codes(replace(TEN, parts_gap=1e-6)) == []


def test_wire_form_has_every_key() -> None:
    assert set(only(TEN, TWENTY).as_json()) == {"code", "views", "axes", "runs", "message", "suggest"}
