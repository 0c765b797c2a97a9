"""The reasons why curves can't be compared, in the runs' own numbers."""

from dataclasses import replace

from lossboard_server.domain.comparability import Facts, compare

TEN = Facts("a", "ten", "train/loss", "mean", "items", "exact", batch_size=10, batches=144, items=1437)
TWENTY = replace(TEN, run="b", name="twenty", batch_size=20, batches=72)


def codes(*facts: Facts) -> list[str]:
    return [warning.code for warning in compare(facts)]


def test_runs_alike_have_no_warning() -> None:
    assert codes(TEN, replace(TEN, run="b", name="again")) == []


def test_batch_sizes_are_told_with_their_numbers_and_the_way_out() -> None:
    (warning,) = compare([TEN, TWENTY])
    assert (warning.code, warning.views, warning.runs) == ("batch-size-differs", ["raw_sum"], ["a", "b"])
    assert "ten into 144 of 10" in warning.message
    assert "twenty into 72 of 20" in warning.message
    assert "2 times as high" in warning.message
    assert warning.suggest == {"view": "per_item"}


def test_splits_of_one_run_are_told_apart_in_raw_sum() -> None:
    (warning,) = compare([replace(TEN, other_split="val", other_batches=4)])
    assert (warning.code, warning.views) == ("splits-differ", ["raw_sum"])
    assert "144 in train and 4 in val" in warning.message
    assert codes(replace(TEN, other_split="val", other_batches=4), TWENTY) == ["batch-size-differs"]


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
