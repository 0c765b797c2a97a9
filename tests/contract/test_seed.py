"""The first seed's eight items at batch sizes 2, 4 and 3, by each way in, give the numbers of the design."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
import torch
from torch.utils.data import DataLoader

import lossboard
from processes import Service, poll

ITEMS = (4.0, 5.0, 2.0, 4.0, 3.0, 2.0, 3.0, 1.0)
EXPECTED = {
    2: {"raw_sum": 12.0, "normalized_sum": 24.0, "batch_mean": 3.0, "per_item": 3.0},
    4: {"raw_sum": 6.0, "normalized_sum": 24.0, "batch_mean": 3.0, "per_item": 3.0},
    3: {"raw_sum": 26 / 3, "normalized_sum": 26.0, "batch_mean": 26 / 9, "per_item": 3.0},
}
EXACT = 1e-12

Send = Callable[[Service, str, int], None]


def send_rows(service: Service, run: str, batch_size: int) -> None:
    """As a person does with curl."""
    service.send("PUT", f"/api/v1/runs/{run}", {})
    rows = [
        {"epoch": 0, "batch": batch, "loss": sum(items) / len(items), "batch_size": len(items)}
        for batch, items in enumerate(batches(batch_size))
    ]
    answer = service.send("POST", f"/api/v1/runs/{run}/records", {"records": rows})
    assert answer["stored"] == len(rows)


def call_log(service: Service, run: str, batch_size: int) -> None:
    """As a loop without PyTorch does."""
    logged = lossboard.init(run=run, **common(service))
    for batch, items in enumerate(batches(batch_size)):
        logged.log(0, batch, sum(items) / len(items), len(items))
    logged.finish()


def watch_loss(service: Service, run: str, batch_size: int) -> None:
    """As a training does: the mean distance of each item from 0 is the item."""
    loss_func = torch.nn.L1Loss()
    loader = DataLoader(torch.tensor(ITEMS, dtype=torch.float64), batch_size=batch_size)
    watched = lossboard.watch(loss_func, loader, run=run, **common(service))
    for items in loader:
        loss_func(items.requires_grad_(), torch.zeros_like(items)).backward()
    watched.finish()


def batches(batch_size: int) -> list[tuple[float, ...]]:
    """Cut the items into batches, the last one short where they don't come out even."""
    return [ITEMS[first : first + batch_size] for first in range(0, len(ITEMS), batch_size)]


def common(service: Service) -> dict[str, Any]:
    return {"url": service.url, "token": service.token, "dir": str(service.folder), "strict": True}


@pytest.mark.parametrize("batch_size", EXPECTED)
@pytest.mark.parametrize("send", [send_rows, call_log, watch_loss])
def test_views_of_the_seed_are_those_of_the_design(service: Service, send: Send, batch_size: int) -> None:
    run = f"seed-{uuid4().hex}"
    send(service, run, batch_size)
    epoch = poll(lambda: read_whole_epoch(service, run), "the epoch with its eight items")
    assert {view: epoch[view] for view in EXPECTED[batch_size]} == pytest.approx(
        EXPECTED[batch_size], rel=EXACT
    )
    assert epoch["batch_size"] == batch_size
    assert epoch["last_batch_size"] == (8 % batch_size or batch_size)
    assert epoch["total"] == pytest.approx(24.0, rel=EXACT)


@pytest.mark.parametrize("batch_size", EXPECTED)
def test_curve_of_the_seed_carries_the_same_views(service: Service, batch_size: int) -> None:
    run = f"seed-{uuid4().hex}"
    send_rows(service, run, batch_size)
    (curve,) = service.get(f"/api/v1/curves?run={run}&x=epoch")["curves"]
    read = {view: curve["views"][view][0] for view in EXPECTED[batch_size]}
    assert read == pytest.approx(EXPECTED[batch_size], rel=EXACT)


def read_whole_epoch(service: Service, run: str) -> dict[str, Any] | None:
    """Read the run's one epoch, None until all eight items are in it."""
    runs = {found["run"] for found in service.get(f"/api/v1/runs?search={run}")["runs"]}
    if run not in runs:
        return None
    epochs = service.get(f"/api/v1/runs/{run}/epochs?series=train/loss")["epochs"]
    return next((epoch for epoch in epochs if epoch["items_seen"] == len(ITEMS)), None)
