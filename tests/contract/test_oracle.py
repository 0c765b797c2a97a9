"""All fifty worked cases through HTTP: rows go in, every expectation comes out of some answer."""

import re
from collections.abc import Callable
from functools import cached_property
from itertools import groupby
from typing import Any
from uuid import uuid4

import pytest

from oracle import CASES, Case, is_close, sent
from processes import Service

TRAINER = "Hugging Face Trainer"
KERAS_HISTORY = {"keras_sum_reduction_report": "≥ 3.2", "keras30_epoch_unweighted": "3.0–3.1"}
LIGHTNING = {"lightning_epoch": "(on_epoch=True)", "lightning_reduce_fx_sum": "reduce_fx='sum'"}


class Reading:
    """Records posted as one run, and what the service answers of it."""

    def __init__(self, service: Service, case: Case, records: list[dict[str, Any]]) -> None:
        self.service = service
        self.case = case
        self.records = records
        self.run = f"oracle-{uuid4().hex}"
        declared = {"train/loss": {"weight_source": "exact", "traits": case.traits}} if case.traits else {}
        service.send("PUT", f"/api/v1/runs/{self.run}", {"series": declared})
        body = {"records": records, "state": "finished"}
        assert service.send("POST", f"/api/v1/runs/{self.run}/records", body)["stored"] == len(records)

    def again(self, records: list[dict[str, Any]]) -> "Reading":
        """Post other records of the case as a run of their own."""
        return Reading(self.service, self.case, records)

    def epochs(self, series: str = "train/loss") -> list[dict[str, Any]]:
        answer = self.service.get(f"/api/v1/runs/{self.run}/epochs?series={series}")
        found: list[dict[str, Any]] = answer["epochs"]
        return found

    @cached_property
    def epoch(self) -> dict[str, Any]:
        (epoch,) = self.epochs()
        return epoch

    def curve(self, query: str = "x=batch") -> dict[str, Any]:
        curves = self.service.get(f"/api/v1/curves?run={self.run}&series=train/loss&{query}")["curves"]
        (curve,) = curves
        found: dict[str, Any] = curve
        return found

    def printed(
        self, tool: str, versions: str = "", what: str = "", epoch: int = 0, series: str = "train/loss"
    ) -> Any:
        """Return the value or the values of the one thing printed that these words name."""
        path = f"/api/v1/runs/{self.run}/epochs/{epoch}/explain?series={series}"
        (found,) = [
            each
            for each in self.service.get(path)["printed"]
            if tool in each["tool"] and versions in each["versions"] and what in each["what"]
        ]
        return found.get("value", found.get("values"))


def read_bar(reading: Reading) -> Reading:
    """Take a bar's printed lines apart and post the steps between them: they must print those lines."""
    counts = [record["batch"] + 1 for record in reading.records]
    lines = [record["loss"] for record in reading.records]
    records: list[dict[str, Any]] = []
    before, total = 0, 0.0
    for count, line in zip(counts, lines, strict=True):
        mean = (line * count - total) / (count - before)
        records.append({"epoch": 0, "batch": len(records), "loss": mean, "batch_size": count - before})
        before, total = count, line * count
    posted = reading.again(records)
    assert posted.curve()["views"]["running"] == pytest.approx(lines, rel=1e-12)
    return posted


def read_two_epochs(reading: Reading) -> list[float]:
    twice = reading.again([record | {"epoch": epoch} for epoch in (0, 1) for record in reading.records])
    values: list[float] = [*twice.printed("ignite"), *twice.printed("ignite", epoch=1)]
    return values


def read_buckets(reading: Reading, key: str) -> list[Any]:
    """Read two neighbouring batches as an epoch: what adds up in a bucket adds up there."""
    moved = [record | {"epoch": record["batch"] // 2} for record in reading.records]
    return [epoch[key] for epoch in reading.again(moved).epochs()]


def read_steps(reading: Reading) -> list[float]:
    curve = reading.curve("x=step")
    points = zip(curve["x"], curve["views"]["batch"], strict=True)
    return [mean([value for _, value in group]) for _, group in groupby(points, lambda point: point[0])]


def first_batch(reading: Reading) -> dict[str, Any]:
    return reading.again([record for record in reading.records if record["batch"] == 0]).epoch


def without_divisor(reading: Reading) -> float:
    records = [
        {key: value for key, value in record.items() if key != "divisor"} for record in reading.records
    ]
    found: float = reading.again(records).epoch["raw_sum"]
    return found


def all_calls(reading: Reading) -> float:
    own = ("closure_eval", "recompute")
    records = [{k: v for k, v in record.items() if k not in own} for record in reading.case.records]
    found: float = reading.again(records).epoch["batch_mean"]
    return found


def as_validation(reading: Reading) -> Any:
    moved = reading.again([record | {"split": "val"} for record in reading.records])
    return moved.printed(TRAINER, series="val/loss")


def mean(values: list[Any]) -> float:
    return float(sum(values) / len(values))


OF_EPOCH = (
    "raw_sum normalized_sum batch_mean size_weighted per_item total global_batches items batches nonfinite "
    "empty min max weight coverage step_objective"
).split()
OF_SERIES = "data_part regulariser_part a_loss b_loss exact_without_duplicates".split()

READERS: dict[str, Callable[[Reading], Any]] = {
    **{key: lambda r, key=key: r.epoch[key] for key in OF_EPOCH},
    **{name: lambda r, name=name: r.epochs(f"train/{name}")[0]["per_item"] for name in OF_SERIES},
    "batch": lambda r: r.curve()["views"]["batch"],
    "running": lambda r: r.curve()["views"]["running"],
    "last_batch": lambda r: r.curve()["views"]["batch"][-1],
    "item_ema_half2": lambda r: r.curve("x=items&smooth=2")["views"]["smooth"],
    "item_var_est": lambda r: r.epoch["std_error"] ** 2 * r.epoch["items"],
    "se_sq": lambda r: r.epoch["std_error"] ** 2,
    "item_var_diff": lambda r: r.epoch["std_error_detrended"] ** 2 * r.epoch["items"],
    "text_reduce_mean": lambda r: r.epoch["total"] / r.epoch["items"],
    # Loops and ranks.
    "window_means": read_steps,
    "raw_sum_without_divisor": without_divisor,
    "sum_of_micro_losses": lambda r: r.epoch["raw_sum"],
    "naive_mean_all_calls": all_calls,
    "objective_of_the_step": lambda r: r.epoch["step_objective"],
    "mean_per_call": lambda r: r.epoch["batch_mean"],
    "n_optimizer_steps": lambda r: r.epoch["global_batches"],  # no step is told: each batch makes one
    "rank0_only": lambda r: r.epoch["ranks"][0]["per_item"],
    "mean_of_rank_means": lambda r: mean([rank["per_item"] for rank in r.epoch["ranks"]]),
    "ddp_objective_step0": lambda r: first_batch(r)["step_objective"],
    "pooled_step0": lambda r: first_batch(r)["per_item"],
    "dataset_size": lambda r: r.epoch["items_seen"] / r.epoch["coverage"],
    "n_duplicates": lambda r: r.epoch["items_seen"] - r.case.traits["dataset_items"],
    # Buckets.
    "bucket_means": lambda r: read_buckets(r, "per_item"),
    "bucket_sum_w": lambda r: read_buckets(r, "weight"),
    "bucket_sum_wx": lambda r: read_buckets(r, "total"),
    "bucket_min": lambda r: read_buckets(r, "min"),
    "bucket_max": lambda r: read_buckets(r, "max"),
    "wrong_mean_of_bucket_means": lambda r: mean(read_buckets(r, "per_item")),
    "merged_mean": lambda r: r.curve("x=batch&points=4")["views"]["running"][-1],
    # What frameworks print.
    "running_batch_mean": lambda r: r.printed("ultralytics"),
    "mean_of_running_means": lambda r: r.printed("Keras", "3.2–3.14", "bar while"),
    "interval_means": lambda r: read_bar(r).curve()["views"]["batch"],
    "interval_lengths": lambda r: [record["batch_size"] for record in read_bar(r).records],
    "epoch_sum": lambda r: read_bar(r).epoch["total"],
    "epoch_mean": lambda r: read_bar(r).epoch["per_item"],
    "keras_reported": lambda r: r.printed("Keras", KERAS_HISTORY[r.case.name], "history['loss']"),
    "printed_final_line": lambda r: r.printed("Keras", "3.2–3.10", "last line"),
    "hf_eval_loss": as_validation,
    "hf_before_oct_2024": lambda r: r.printed(TRAINER, "any", "loss, logged"),
    "hf_num_items_in_batch": lambda r: r.printed(TRAINER, "num_items_in_batch"),
    "hf_logged": lambda r: r.printed(TRAINER, "any", "loss, logged"),
    "ema_debiased_098": lambda r: r.printed("fastai"),
    "running_average_two_epochs": read_two_epochs,
    "lightning_reported": lambda r: r.printed("Lightning", what=LIGHTNING[r.case.name]),
}  # fmt: skip


def read_expectation(reading: Reading, key: str) -> Any:
    """Read what the service says to one expectation of a case."""
    part, dot, name = key.partition(".")
    if not dot:
        return READERS[key](reading)
    number = re.fullmatch(r"epoch(\d+)", part)
    if number is None:
        (epoch,) = reading.epochs(f"{part}/loss")
        return epoch[name]
    found = [epoch for epoch in reading.epochs() if epoch["epoch"] == int(number[1])]
    return found[0][name] if found else None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case_reads_through_http_as_worked_out_by_hand(service: Service, case: Case) -> None:
    reading = Reading(service, case, sent(case))
    for key, want in case.expect.items():
        got = read_expectation(reading, key)
        assert is_close(got, want, case.tolerance), (key, got, want)


def test_every_expectation_has_a_reader() -> None:
    keys = {key.partition(".")[2] or key for case in CASES for key in case.expect}
    assert keys <= set(READERS)
