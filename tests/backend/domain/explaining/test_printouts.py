"""What frameworks print for an epoch, held to what their real versions printed."""

import math
from typing import Any

import pytest

from lossboard_server.domain.explaining.explanation import explain_epoch
from lossboard_server.domain.explaining.printouts import means_between
from lossboard_server.domain.explaining.tools import Printout
from oracle import CASES
from oracle.case import batches
from oracle.epochs import epoch_of
from oracle.rows import rows_of

BS3 = batches([11 / 3, 3.0, 2.0], [3, 3, 2])
SUMS = batches([11.0, 9.0, 4.0], [3, 3, 2], reduction="sum")
BAR = "bar while"
LAST = "last line"
HISTORY = "history['loss']"
LOGS = "logs['loss']"
RUNNING = [11 / 3, 10 / 3, 3.0]

# Measured with each of these versions (SEMANTICS §3.1; 3.0.5 to 3.15.0 again on the torch backend).
KERAS = {
    "2.2.5": {BAR: RUNNING, HISTORY: 3.0, LOGS: [11 / 3, 3.0, 2.0]},
    "2.15.0": {BAR: RUNNING, HISTORY: 3.0, LOGS: RUNNING},
    "3.0.5": {BAR: [11 / 3, 7 / 2, 89 / 27], LAST: 115 / 36, HISTORY: 26 / 9},
    "3.1.1": {BAR: [11 / 3, 7 / 2, 89 / 27], LAST: 115 / 36, HISTORY: 26 / 9},
    "3.2.0": {BAR: [11 / 3, 7 / 2, 10 / 3], LAST: 13 / 4, HISTORY: 3.0, LOGS: RUNNING},
    "3.10.0": {BAR: [11 / 3, 7 / 2, 10 / 3], LAST: 13 / 4, HISTORY: 3.0, LOGS: RUNNING},
    "3.11.0": {BAR: [11 / 3, 7 / 2, 10 / 3], HISTORY: 3.0, LOGS: RUNNING},
    "3.14.1": {BAR: [11 / 3, 7 / 2, 10 / 3], HISTORY: 3.0, LOGS: RUNNING},
    "3.15.0": {BAR: RUNNING, HISTORY: 3.0, LOGS: RUNNING},
}


def printouts(records: list[dict[str, Any]], **more: Any) -> list[Printout]:
    return explain_epoch(epoch_of(records, **more)).printed


def find(found: list[Printout], tool: str, what: str = "", versions: str = "") -> Printout:
    (one,) = [p for p in found if tool in p.tool and what in p.what and versions in p.versions]
    return one


@pytest.mark.parametrize("version", KERAS)
def test_keras_shows_what_that_version_shows(version: str) -> None:
    found = [p for p in printouts(BS3, frameworks={"keras": version, "torch": "2.13.0"}) if p.tool == "Keras"]
    yours = {p.what: p.value if p.values is None else p.values for p in found if p.is_yours}
    expected = KERAS[version]
    assert len(yours) == len(expected)
    for words, value in expected.items():
        (shown,) = [shown for what, shown in yours.items() if what.startswith(words)]
        assert shown == pytest.approx(value, rel=1e-12), words


@pytest.mark.parametrize(
    ("frameworks", "is_batch_value"),
    [({"tensorflow": "2.1.0"}, True), ({"tensorflow": "2.2.0"}, False), ({"keras": "2.4.3"}, False)],
)
def test_tensorflow_tells_the_keras_inside_it(frameworks: dict[str, str], is_batch_value: bool) -> None:
    found = [p for p in printouts(BS3, frameworks=frameworks) if p.is_yours and p.what.startswith(LOGS)]
    assert [p.formula == "v" for p in found] == [is_batch_value]


@pytest.mark.parametrize("frameworks", [{"keras": "nightly"}, {"keras": ""}, {"tensorflow": "main"}])
def test_a_version_without_a_number_is_nobodys(frameworks: dict[str, str]) -> None:
    assert not [p for p in printouts(BS3, frameworks=frameworks) if p.is_yours]


def test_validation_of_keras_3_0_counts_batches_alike() -> None:
    found = printouts(BS3, series="val/loss", frameworks={"keras": "3.1.1"})
    assert [(p.what, p.value) for p in found if p.is_yours] == [("val_loss", pytest.approx(26 / 9))]
    newer = printouts(BS3, series="val/loss", frameworks={"keras": "3.2.0"})
    assert [p.value for p in newer if p.is_yours] == [3.0]


def test_a_summed_loss_is_averaged_as_a_sum() -> None:
    found = printouts(SUMS)
    assert find(found, "Keras", "history", "2.x").value == 8.5
    assert find(found, "Lightning", "(on_epoch=True)").value == 8.5
    assert "neither the total nor the mean" in find(found, "Keras", "history", "2.x").reason
    assert find(found, "PyTorch loop").value == 24


def test_lightning_shows_the_last_batch_the_item_mean_and_the_sum() -> None:
    found = [p for p in printouts(BS3, frameworks={"lightning": "2.6.6"}) if p.is_yours]
    assert [p.value for p in found] == pytest.approx([2.0, 3.0, 26 / 3])


def test_lightning_pools_ranks_only_when_told() -> None:
    found = printouts([*batches([3.0], [4], rank=0), *batches([3.5], [4], rank=1)])
    assert find(found, "Lightning", "(on_epoch=True)").value == 3.0
    assert find(found, "Lightning", "sync_dist").value == 3.25
    assert "Each rank" in find(found, "PyTorch loop").reason


# Measured with transformers 5.23.0, logging once an epoch.
@pytest.mark.parametrize(
    ("losses", "window", "logged"),
    [
        ([3.0, math.nan, math.nan], 1, 2.0),
        ([3.0, 1.0, 2.0, 4.0, 5.0], 2, 10 / 3),
        ([3.0, math.nan, 2.0, 4.0, math.nan, 6.0], 2, 11 / 3),
        ([math.nan, 2.0, 4.0], 1, 2.0),
        ([math.nan, math.nan], 1, 0.0),
    ],
)
def test_trainer_logs_the_mean_of_steps_with_its_filter(
    losses: list[float], window: int, logged: float
) -> None:
    steps = [batch // window for batch in range(len(losses))]
    found = printouts(batches(losses, [1] * len(losses), step=steps))
    assert find(found, "Trainer", "loss, logged", "any").value == pytest.approx(logged)


def test_trainer_filters_what_is_not_finite_and_not_what_weighs_nothing() -> None:
    found = printouts(batches([1.0, 2.0, math.nan], [1] * 3, weight=[1, 0, 0]))
    assert "(1 batch)" in find(found, "Trainer", "loss, logged", "any").reason
    plain = printouts(batches([1.0, 2.0], [1] * 2, weight=[1, 0]))
    assert "filter" not in find(plain, "Trainer", "loss, logged", "any").reason


def test_trainer_ends_with_the_mean_of_all_steps_of_the_run() -> None:
    # Measured: logs of three steps each, 1.7778 and 5.3333, and train_loss 3.5556.
    before = rows_of(batches([3.0, 1.0, math.nan], [1] * 3))
    after = [record | {"epoch": 1} for record in batches([4.0, 5.0, 7.0], [1] * 3)]
    found = find(printouts(after, before=before), "Trainer", "train_loss")
    assert found.value == pytest.approx((16 / 3 + 16) / 6)
    unread = find(printouts(after, before=None), "Trainer", "train_loss")
    assert unread.value is None
    assert "more than 100,000" in unread.reason


def test_trainer_averages_ranks() -> None:
    found = printouts([*batches([3.0, 1.0], [1, 1], rank=0), *batches([5.0, 3.0], [1, 1], rank=1)])
    assert find(found, "Trainer", "loss, logged").value == 3.0


def test_trainer_of_before_and_after_pooling_tokens_are_both_told() -> None:
    case = next(case for case in CASES if case.name == "accumulation_window_tokens")
    for version, yours in {"4.45.2": [2.5], "5.23.0": [2.5, 25 / 7]}.items():
        found = printouts(case.records, weight_unit="tokens", frameworks={"transformers": version})
        logged = [p.value for p in found if p.is_yours and p.what.startswith("loss, logged")]
        assert logged == pytest.approx(yours)


def test_averages_that_never_begin_anew_use_the_epochs_before() -> None:
    alone = printouts(BS3, before=None)
    after = printouts(BS3, before=rows_of(BS3))
    for tool in ("fastai", "ignite", "TensorBoard"):
        assert "as if the run began with this epoch" in find(alone, tool).reason
        assert find(alone, tool).values != find(after, tool).values
    assert find(alone, "ultralytics").values == find(after, "ultralytics").values


def test_nan_goes_through_where_the_framework_lets_it() -> None:
    found = printouts(batches([4.0, "NaN", 2.0], [2] * 3))
    for tool, what in [("PyTorch", ""), ("Keras", "history['loss'];"), ("Lightning", "reduce_fx")]:
        assert math.isnan(find(found, tool, what).value or 0.0), tool
    assert find(found, "torchmetrics").value == 3.0
    slider = find(found, "TensorBoard").values
    assert slider is not None
    assert [math.isnan(value) for value in slider] == [False, True, False]


def test_a_long_sequence_is_shown_by_its_beginning_and_its_end() -> None:
    found = find(printouts(batches([float(n) for n in range(1, 1001)], [1] * 1000)), "ultralytics")
    assert found.values == [1.0, 1.5, 2.0, 2.5, 500.5]
    assert "Shown: the first four of 1,000 and the last." in found.reason


def test_calls_of_one_batch_are_one_value() -> None:
    found = printouts([*batches([1.0], [4]), *batches([2.0], [4]), *batches([3.0], [4])])
    assert find(found, "ultralytics").values == [6.0]


def test_what_the_run_used_comes_first() -> None:
    found = printouts(BS3, frameworks={"torch": "2.13.0", "fastai": "2.8.12"})
    assert [p.tool for p in found if p.is_yours] == ["fastai"]
    assert found[0].tool == "fastai"
    assert printouts(BS3, frameworks={"torch": "2.13.0"})[0].tool == "PyTorch loop"
    assert not any(p.is_yours for p in printouts(BS3))


def test_the_third_seeds_bar_is_taken_apart() -> None:
    lines = [4.1276, -2.0592, -2.6107, -0.484, -1.8741, -2.4558, -2.1474]
    means = means_between([1, 5, 9, 13, 17, 21, 24], lines)
    assert means == pytest.approx([4.1276, -3.6059, -3.300075, 4.301075, -6.391925, -4.928025, 0.0114])


def test_wire_form_has_a_value_or_values() -> None:
    for each in printouts(BS3):
        keys = set(each.as_json())
        assert keys - {"value", "values"} == {"tool", "versions", "what", "formula", "reason", "is_yours"}
        assert len(keys & {"value", "values"}) == 1
