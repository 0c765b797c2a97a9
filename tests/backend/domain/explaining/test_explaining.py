"""An epoch explained: labels, workings, caveats and notes, in words that hold its own numbers."""

import math
from typing import Any

import pytest

from lossboard_server.domain.explaining.explanation import Explanation, explain_epoch
from lossboard_server.domain.explaining.wording import add_up, say
from lossboard_server.domain.explaining.workings import Working
from oracle import CASES, sent
from oracle.case import batches
from oracle.epochs import epoch_of

BS3 = batches([11 / 3, 3.0, 2.0], [3, 3, 2])


def explain(records: list[dict[str, Any]], **more: Any) -> Explanation:
    return explain_epoch(epoch_of(records, **more))


def working(explanation: Explanation, view: str) -> Working:
    (found,) = [each for each in explanation.views if each.view == view]
    return found


def caveats(explanation: Explanation) -> dict[str, str]:
    return {each.code: each.message for each in explanation.artefacts}


def test_every_view_of_the_seed_is_worked_out_with_its_own_numbers() -> None:
    explanation = explain(BS3)
    assert {each.view: each.worked for each in explanation.views} == {
        "per_item": "(11 + 9 + 4) ÷ (3 + 3 + 2) = 3",
        "batch_mean": "(3.6667 + 3 + 2) ÷ 3 = 2.8889",
        "raw_sum": "3.6667 + 3 + 2 = 8.6667",
        "normalized_sum": "3 × (3.6667 + 3 + 2) = 26",
        "size_weighted": "(11 + 9 + 4) ÷ (3 + 3 + 2) = 3",
        "step_objective": "(3.6667 + 3 + 2) ÷ 3 = 2.8889",
        "total": "11 + 9 + 4 = 24",
    }
    assert working(explanation, "per_item").formula == "Σ w·m ÷ Σ w"
    assert "at batch size 6 it would be about 5.78" in working(explanation, "raw_sum").meaning


def test_long_sums_are_shortened_with_their_totals() -> None:
    explanation = explain(batches([4.0, 5, 2, 4, 3, 2, 3, 1], [1] * 8))
    per_item = working(explanation, "per_item")
    assert per_item.worked == "(4 + 5 + … + 1) ÷ (1 + 1 + … + 1) = 24 ÷ 8 = 3"


def test_an_epoch_too_long_to_read_is_worked_out_from_its_sums() -> None:
    explanation = explain(BS3, has_rows=False)
    assert working(explanation, "per_item").worked == "24 ÷ 8 = 3"
    assert working(explanation, "batch_mean").worked == "8.6667 ÷ 3 = 2.8889"
    assert explanation.printed == []
    assert any("more than 100,000 records" in note for note in explanation.notes)
    assert explanation.std_error_detrended is None


def test_ranks_are_averaged_batch_by_batch_in_the_raw_sum() -> None:
    made = [*batches([4.0, 3.0], [2, 2], rank=0), *batches([2.0, 1.0], [1, 2], rank=1)]
    raw_sum = working(explain(made), "raw_sum")
    assert (raw_sum.worked, raw_sum.formula) == ("3 + 2 = 5", "Σ over batches of the mean of v over ranks")


@pytest.mark.parametrize(
    ("more", "label"),
    [
        ({}, "per item, exact"),
        ({"weight_unit": "tokens", "weight_source": "assumed"}, "per token, assumed"),
        ({"weight_source": "unknown"}, "per item, weights unknown"),
    ],
)
def test_label_says_what_the_numbers_are(more: dict[str, str], label: str) -> None:
    assert explain(BS3, **more).label == label


@pytest.mark.parametrize(
    ("finding", "label"),
    [
        ("batch_coupled", "per batch of 3, no mean per item exists"),
        ("non_linear", "per batch of 3, no mean per item exists"),
        ("not_probed", "undeclared"),
    ],
)
def test_a_loss_without_a_mean_per_item_says_so_in_every_view(finding: str, label: str) -> None:
    explanation = explain(
        batches([1.0, 2.0], [3, 3], reduction="unknown"), traits={"finding": finding}, weight_source="probed"
    )
    assert explanation.label == label
    for each in explanation.views:
        assert (each.value, each.worked) == (None, "")
        assert "no mean per item" in each.meaning or finding == "not_probed"
    assert explanation.artefacts == []
    assert explanation.printed[0].value == 3.0


def test_absent_values_come_with_their_reason() -> None:
    nothing_finite = explain(batches(["NaN"], [2]))
    assert "No batch of it has a finite loss" in working(nothing_finite, "per_item").meaning
    no_size = explain(batches([2.0], [None]))
    assert "without a batch size" in working(no_size, "per_item").meaning
    assert no_size.label == "undeclared"
    undeclared = explain(BS3, is_declared=False)
    assert "Nothing told where the epoch begins" in working(undeclared, "raw_sum").meaning
    assert working(undeclared, "per_item").value == 3.0
    leftover = explain(batches([4.0, 2.0, 6.0], [2] * 3, step=[0, 0, 1]), has_rows=False)
    assert "more than 100,000" in working(leftover, "step_objective").meaning


def test_what_was_left_out_is_told() -> None:
    found = caveats(explain(batches([4.0, "NaN", 2.0, "Infinity", 3.0], [2] * 5)))
    assert found["nonfinite"] == (
        "2 of 5 batches came out NaN or infinite and are left out: the epoch's value is over 6 of 10 items."
    )
    ignored = caveats(explain(batches([3.0, "NaN"], [4, 4], weight=[10, 0])))
    assert ignored["empty"].startswith("1 batch had a weight of 0")
    assert "nonfinite" not in ignored
    assert "missing, not 0" in caveats(explain(batches(["NaN"], [2])))["nonfinite"]


def test_coverage_and_duplicates_are_told() -> None:
    dropped = batches([1.0] * 4, [4] * 4)
    assert caveats(explain(dropped, traits={"dataset_items": 20}))["coverage"].startswith(
        "16 of 20 items were seen (80 %)"
    )
    assert "coverage" not in caveats(explain(dropped, traits={"dataset_items": 20}, is_complete=False))
    assert not caveats(explain(dropped, traits={"dataset_items": 16}))
    case = next(case for case in CASES if case.name == "distributed_sampler_padding")
    found = caveats(explain(sent(case), traits=case.traits))
    assert found["duplicates"].startswith("8 items were seen of a data set of 7, so 1 counted twice; Distrib")
    again = caveats(explain(dropped, traits={"dataset_items": 15}))
    assert "a sampler that draws again" in again["duplicates"], "one rank has no DistributedSampler"
    twice = caveats(explain(dropped, traits={"dataset_items": 8}))
    assert "workers that each read all" in twice["duplicates"]


def test_what_is_taken_on_trust_is_told() -> None:
    assert "pass weight=" in caveats(explain(BS3, weight_source="assumed"))["assumed-weight"]
    assert "can't see" in caveats(explain(BS3, weight_source="unknown"))["assumed-weight"]
    sentence = "input (3, 1) and target (3,) were broadcast to (3, 3)"
    broadcast = caveats(explain(BS3, traits={"broadcast": sentence}))["broadcast"]
    assert broadcast.startswith("Input (3, 1) and target (3,) were broadcast to (3, 3): ")
    assert "3 %" in caveats(explain(BS3, traits={"parts_gap": 0.03}))["parts-disagree"]
    assert "parts-disagree" not in caveats(explain(BS3, traits={"parts_gap": 1e-7}))


def test_inexact_numbers_are_told_with_their_size() -> None:
    explanation = explain(batches([2.3, 2.2], [2, 2]), traits={"dtype": "bfloat16", "from_running": True})
    found = {each.code: each for each in explanation.artefacts}
    assert found["resolution"].size == 1 / 64
    assert "A bfloat16 loss near 2.3 moves in steps of 0.01562" in found["resolution"].message
    assert found["from-running"].size == pytest.approx(2 * 2.25 * 2**-23)


def test_keras_riddle_is_answered_for_a_run_of_keras() -> None:
    # The third seed's first five steps: 4.1276, then four that average −3.6059.
    made = batches([4.1276, -3.6059, -3.6059, -3.6059, -3.6059], [1] * 5)
    keras = {"frameworks": {"keras": "2.2.5"}}
    (note,) = [note for note in explain(made, **keras).notes if "bar" in note]
    assert "1/24, 5/24, 9/24" in note
    assert "4.1276 after 1 batch and −2.0592 after 5: the 4 between average −3.6059" in note
    assert not any("bar" in note for note in explain(made).notes)
    assert not any("bar" in note for note in explain(made, series="val/loss", **keras).notes)


def test_notes_tell_accumulation_progress_and_noise() -> None:
    made = batches([5.0, 4.0, 3.0, 2.0], [2] * 4, step=[0, 0, 1, 1])
    notes = explain(made, traits={"divided_by": 2.0}, is_complete=False).notes
    assert "still runs" in notes[0]
    assert notes[1] == (
        "The loop divides the loss by 2 before backward (4 micro-batches made 2 steps);"
        " here it stands undivided."
    )
    assert "Batch noise of the mean is ±" in notes[2]
    assert "lossboard.evaluate" in notes[3]
    assert not explain(BS3, series="val/loss").notes
    undivided = explain(made, traits={"divided_by": 1.0})
    assert any("Gradients are accumulated" in note for note in undivided.notes)
    assert not any("by 1" in each.reason for each in undivided.printed)


def test_noise_beyond_the_doubles_is_not_told() -> None:
    assert not any("noise" in note for note in explain(batches([1e308, -1e308, 1e308], [4, 4, 1])).notes)


def test_every_case_of_the_oracle_can_be_explained_with_and_without_its_rows() -> None:
    for case in CASES:
        for has_rows in (True, False):
            made = explain(sent(case), traits=case.traits, has_rows=has_rows).as_json()
            words = [view["meaning"] for view in made["views"]] + made["notes"]
            words += [each["message"] for each in made["artefacts"]] + [
                each["reason"] for each in made["printed"]
            ]
            assert all(text.endswith(".") and "None" not in text and "{" not in text for text in words)
            assert all(view["worked"] or view["value"] is None for view in made["views"])


def test_epochs_of_losses_at_the_end_of_the_doubles_can_be_explained() -> None:
    explain(batches([1.7e308, 1.7e308, -1.0], [4, 4, 4]))
    explain(batches([0.0, 0.0], [3, 2]))


def test_numbers_are_said_shortly() -> None:
    numbers = [3.0, -1 / 9, 1563.0, 1234567.8, 1.2e-7, 26 / 9, math.nan, -math.inf, 2.0**70]
    assert [say(number) for number in numbers] == [
        "3", "−0.11111", "1,563", "1,234,568", "1.2 × 10^−7", "2.8889", "NaN", "−∞", "1.1806 × 10^21",
    ]  # fmt: skip
    assert add_up([4.5, -3.0, 2.0]) == "4.5 − 3 + 2"
    assert add_up([-1.0] * 9) == "−1 − 1 + … − 1"
