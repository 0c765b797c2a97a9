"""Real gloo processes under DDP are the ranks of one run, and its numbers are those of all their data."""

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from processes import Service, poll, start_script

pytestmark = pytest.mark.live

SCRIPT = Path(__file__).with_name("distributed.py")
TIMEOUT_S = 120.0
ROWS = 7
TORCHRUN = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0", "--standalone")

Line = dict[str, Any]


@pytest.mark.parametrize("launcher", ["spawn", "torchrun"])
def test_two_ranks_are_one_run_merged_by_adding(service: Service, tmp_path: Path, launcher: str) -> None:
    own = run_ranks(service, tmp_path, launcher)
    (listed,) = service.get("/api/v1/runs")["runs"]
    run = service.get(f"/api/v1/runs/{listed['run']}")
    assert sorted(writer["rank"] for writer in run["writers"]) == [0, 1]
    assert [attempt["world_size"] for attempt in run["attempts"]] == [2]
    answer = service.get(f"/api/v1/runs/{listed['run']}/epochs?series=train/loss")
    assert (answer["weight_unit"], answer["weight_source"]) == ("tokens", "exact")
    assert len(answer["epochs"]) == 2
    for epoch in answer["epochs"]:
        lines = [line for lines in own.values() for line in lines if line["epoch"] == epoch["epoch"]]
        assert epoch["complete"]
        assert epoch["per_item"] == pytest.approx(pooled(lines), rel=1e-12)
        assert epoch["weight"] == sum(line["tokens"] for line in lines)
        assert epoch["items_seen"] == 8
        assert epoch["coverage"] == pytest.approx(8 / ROWS)
        by_step = group(lines)
        objectives = [sum(losses) / len(losses) for losses in by_step.values()]
        assert epoch["raw_sum"] == pytest.approx(sum(objectives), rel=1e-12)
        assert epoch["step_objective"] == pytest.approx(sum(objectives) / len(objectives), rel=1e-12)
        assert epoch["step_objective"] != pytest.approx(epoch["per_item"], rel=1e-6)
        ranks = [pooled([line for line in own[rank] if line["epoch"] == epoch["epoch"]]) for rank in (0, 1)]
        assert [rank["per_item"] for rank in epoch["ranks"]] == pytest.approx(ranks, rel=1e-12)
        assert epoch["rank_spread"] == pytest.approx(max(ranks) - min(ranks), rel=1e-9)
        assert epoch["steps"] == 2


def run_ranks(service: Service, folder: Path, launcher: str) -> dict[int, list[Line]]:
    """Train with two ranks and return what each wrote down."""
    arguments = [str(folder)] if launcher == "spawn" else [str(folder), "--by-torchrun"]
    before = [sys.executable] if launcher == "spawn" else [sys.executable, *TORCHRUN]
    training = start_script(SCRIPT, service.folder, *arguments, command=before)
    try:
        output, _ = training.communicate(timeout=TIMEOUT_S)
    finally:
        training.kill()
    assert training.returncode == 0, output
    poll(lambda: service.get("/api/v1/runs")["runs"][0]["state"] == "finished", "the end of the run")
    return {rank: read_lines(folder / f"{rank}.jsonl") for rank in (0, 1)}


def read_lines(path: Path) -> list[Line]:
    """Read a rank's own list."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def pooled(lines: list[Line]) -> float:
    """The mean of all tokens, whoever held them."""
    total = sum(line["loss"] * line["tokens"] for line in lines)
    return float(total / sum(line["tokens"] for line in lines))


def group(lines: list[Line]) -> dict[int, list[float]]:
    """The ranks' losses of each step."""
    found = defaultdict(list)
    for line in lines:
        found[line["batch"]].append(line["loss"])
    return found
