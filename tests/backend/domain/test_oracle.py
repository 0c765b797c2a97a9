"""All fifty worked cases through the domain, every expectation of each."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest

from lossboard_server.domain.attempts import Attempt, find_stretches
from lossboard_server.domain.curves import Curve, Standing, draw
from lossboard_server.domain.explaining.epoch import Explained
from lossboard_server.domain.explaining.explanation import explain_epoch
from lossboard_server.domain.explaining.printouts import (
    average_so_far,
    batches_of,
    means_between,
    running_batch_means,
    running_item_means,
)
from lossboard_server.domain.explaining.tools import Printout
from lossboard_server.domain.noise import std_error_detrended
from lossboard_server.domain.objective import Step, steps_of
from lossboard_server.domain.points import Point, bucket_rows, merge_all_points
from lossboard_server.domain.smoothing import Smoothing
from lossboard_server.domain.summary import Row, Summary
from lossboard_server.domain.views import EpochViews, needs_rows, view_epoch, views_of_rows
from oracle import CASES, Case, is_close, sent
from oracle.rows import by_rank, rows_of

TRAINER = "Hugging Face Trainer"
HISTORY = "history['loss']"


@dataclass
class Reading:
    """A case as the domain reads it."""

    case: Case
    rows: list[Row]

    @cached_property
    def ranks(self) -> dict[int, Summary]:
        return by_rank(self.rows)

    @cached_property
    def views(self) -> EpochViews:
        """As the store does: from summaries where they tell it."""
        ranks = list(self.ranks.values())
        reduction = self.rows[0].evaluation.reduction
        if needs_rows(ranks, reduction):
            return views_of_rows(ranks, reduction, self.rows, True)
        return view_epoch(ranks, reduction, is_declared=True)

    @property
    def merged(self) -> Summary:
        return self.views.merged

    @cached_property
    def curve(self) -> Curve:
        return draw(bucket_rows(self.rows, 1, {(0, 0): 1}), "batch", Standing(), Smoothing(2.0))

    @cached_property
    def steps(self) -> list[Step]:
        return steps_of(self.rows, self.rows[0].evaluation.reduction)

    def explained(self, series: str = "train/loss", before: list[Row] | None = None) -> Explained:
        return Explained(
            series, self.ranks, self.views, self.rows[0].evaluation.reduction, "items", "exact",
            rows=self.rows, before=[] if before is None else before, traits=self.case.traits,
        )  # fmt: skip

    def printout(
        self, tool: str, versions: str = "", what: str = "", series: str = "train/loss", **more: Any
    ) -> Printout:
        """Return the one thing printed whose tool, versions and what contain these words."""
        (found,) = [
            each
            for each in explain_epoch(self.explained(series, **more)).printed
            if tool in each.tool and versions in each.versions and what in each.what
        ]
        return found

    def series(self, name: str) -> float | None:
        return Reading(self.case, rows_of(self.case.records, series=name)).views.per_item


def read_bar(reading: Reading) -> list[dict[str, Any]]:
    """Take printed lines of a bar apart, as batches whose running mean they are."""
    counts = [row.batch + 1 for row in reading.rows]
    lines = [row.evaluation.loss for row in reading.rows]
    lengths = [n - m for m, n in zip([0, *counts], counts, strict=False)]
    means = means_between(counts, lines)
    records = [
        {"epoch": 0, "batch": i, "loss": mean, "batch_size": length}
        for i, (mean, length) in enumerate(zip(means, lengths, strict=True))
    ]
    assert running_item_means(batches_of(rows_of(records))) == pytest.approx(lines, rel=1e-12)
    return records


def read_two_epochs(reading: Reading) -> list[float]:
    """Read ignite's average over the epoch, then over the same losses again."""
    first = reading.printout("ignite").values
    second = reading.printout("ignite", before=reading.rows).values
    assert first is not None
    assert second is not None
    return first + second


def read_buckets(reading: Reading, take: Callable[[Point], float | None]) -> list[float | None]:
    return [take(point) for point in bucket_rows(reading.rows, 2, {(0, 0): 1}).rows]


def without_divisor(reading: Reading) -> float | None:
    records = [record | {"divisor": None} for record in reading.case.records]
    return Reading(reading.case, rows_of(records)).views.raw_sum


def mean(values: list[Any]) -> float:
    return sum(values) / len(values)


VIEW_NAMES = "raw_sum normalized_sum batch_mean size_weighted per_item total global_batches".split()
COUNTS = {"items": "items", "batches": "count", "nonfinite": "nonfinite", "empty": "empty", "min": "low",
          "max": "high"}  # fmt: skip
SERIES = "data_part regulariser_part a_loss b_loss exact_without_duplicates".split()

READERS: dict[str, Callable[[Reading], Any]] = {
    **{name: lambda r, name=name: getattr(r.views, name) for name in VIEW_NAMES},
    **{key: lambda r, name=name: getattr(r.merged, name) for key, name in COUNTS.items()},
    **{name: lambda r, name=name: r.series(name) for name in SERIES},
    "weight": lambda r: r.merged.weight[0],
    "batch": lambda r: r.curve.batch_view,
    "running": lambda r: r.curve.running,
    "last_batch": lambda r: r.curve.batch_view[-1],
    "item_ema_half2": lambda r: r.curve.smooth,
    "item_var_est": lambda r: r.merged.m2 / (r.merged.count - 1),
    "se_sq": lambda r: r.merged.std_error**2,
    "item_var_diff": lambda r: std_error_detrended(r.rows) ** 2 * r.merged.items,
    "running_batch_mean": lambda r: running_batch_means(batches_of(r.rows)),
    "mean_of_running_means": lambda r: average_so_far(running_item_means(batches_of(r.rows))),
    "text_reduce_mean": lambda r: r.views.total / r.merged.items,
    # Loops and ranks.
    "window_means": lambda r: [step.objective for step in r.steps],
    "raw_sum_without_divisor": without_divisor,
    "sum_of_micro_losses": lambda r: r.views.raw_sum,
    "naive_mean_all_calls": lambda r: Reading(r.case, rows_of(r.case.records)).views.batch_mean,
    "objective_of_the_step": lambda r: r.views.step_objective,
    "mean_per_call": lambda r: r.views.batch_mean,
    "n_optimizer_steps": lambda r: len(r.steps),
    "rank0_only": lambda r: r.explained().extent.ranks[0].per_item,
    "mean_of_rank_means": lambda r: mean([rank.per_item for rank in r.explained().extent.ranks]),
    "ddp_objective_step0": lambda r: r.steps[0].objective,
    "pooled_step0": lambda r: r.steps[0].pooled,
    "coverage": lambda r: r.explained().extent.coverage,
    "dataset_size": lambda r: r.merged.items_seen / r.explained().extent.coverage,
    "n_duplicates": lambda r: r.merged.items_seen - r.case.traits["dataset_items"],
    # Buckets.
    "bucket_means": lambda r: read_buckets(r, lambda s: s.mean),
    "bucket_sum_w": lambda r: read_buckets(r, lambda s: s.weight),
    "bucket_sum_wx": lambda r: read_buckets(r, lambda s: s.weighted),
    "bucket_min": lambda r: read_buckets(r, lambda s: s.low),
    "bucket_max": lambda r: read_buckets(r, lambda s: s.high),
    "wrong_mean_of_bucket_means": lambda r: mean(read_buckets(r, lambda s: s.mean)),
    "merged_mean": lambda r: merge_all_points(bucket_rows(r.rows, 2, {(0, 0): 1}).rows).mean,
    # What frameworks print.
    "interval_means": lambda r: [record["loss"] for record in read_bar(r)],
    "interval_lengths": lambda r: [record["batch_size"] for record in read_bar(r)],
    "epoch_sum": lambda r: Reading(r.case, rows_of(read_bar(r))).views.total,
    "epoch_mean": lambda r: Reading(r.case, rows_of(read_bar(r))).views.per_item,
    "keras_reported": lambda r: r.printout("Keras", KERAS_VERSIONS[r.case.name], HISTORY).value,
    "printed_final_line": lambda r: r.printout("Keras", "3.2–3.10", "last line").value,
    "hf_eval_loss": lambda r: r.printout(TRAINER, series="val/loss").value,
    "hf_before_oct_2024": lambda r: r.printout(TRAINER, "any", "loss, logged").value,
    "hf_num_items_in_batch": lambda r: r.printout(TRAINER, "num_items_in_batch").value,
    "hf_logged": lambda r: r.printout(TRAINER, "any", "loss, logged").value,
    "ema_debiased_098": lambda r: r.printout("fastai").values,
    "running_average_two_epochs": read_two_epochs,
    "lightning_reported": lambda r: r.printout("Lightning", what=LIGHTNING[r.case.name]).value,
}

KERAS_VERSIONS = {"keras_sum_reduction_report": "≥ 3.2", "keras30_epoch_unweighted": "3.0–3.1"}
LIGHTNING = {"lightning_epoch": "(on_epoch=True)", "lightning_reduce_fx_sum": "reduce_fx='sum'"}


def read_expectation(case: Case, key: str) -> Any:
    """Read what the domain says to one expectation of a case."""
    records = sent(case)
    split, dot, view = key.partition(".")
    if not dot:
        return READERS[key](Reading(case, rows_of(records)))
    epoch = re.fullmatch(r"epoch(\d+)", split)
    if epoch is not None:
        rows = [row for row in visible_rows(records) if row.epoch == int(epoch[1])]
    else:
        rows = rows_of(records, split)
        rows = [row for row in rows if row.pass_no == rows[-1].pass_no]  # an epoch's last pass stands for it
    return READERS[view](Reading(case, rows)) if rows else None


def visible_rows(records: list[dict[str, Any]]) -> list[Row]:
    """Leave out what later attempts hide; an attempt starts where its first record stands."""
    starts: dict[int, tuple[int, int]] = {}
    for record in records:
        starts.setdefault(record.get("attempt", 0), (record["epoch"], record["batch"]))
    stretches = find_stretches((Attempt(key, float(key), start) for key, start in starts.items()), {})
    shown = []
    for record in records:
        batches = stretches[record.get("attempt", 0)].batches(record["epoch"])
        if batches is None or batches.start <= record["batch"] < batches.stop:
            shown.append(record)
    return rows_of(shown)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case_reads_as_worked_out_by_hand(case: Case) -> None:
    for key, want in case.expect.items():
        got = read_expectation(case, key)
        assert is_close(got, want, case.tolerance), (key, got, want)


def test_there_are_fifty_cases_of_different_names() -> None:
    assert len({case.name for case in CASES}) == 50


def test_every_expectation_has_a_reader_and_every_reader_an_expectation() -> None:
    keys = {key.partition(".")[2] or key for case in CASES for key in case.expect}
    assert keys == set(READERS)
