"""Losses that can't be read at once: batched copies from a device, and rows that compiled graphs write."""

import logging
import math
import time

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from devices import Device
from lossboard.watching import deferred, tracing


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def classes(n=20, batch_size=3):
    generator = torch.Generator().manual_seed(1)
    data = torch.randn(n, 4, generator=generator), torch.randint(0, 3, (n,), generator=generator)
    return DataLoader(TensorDataset(*data), batch_size=batch_size)


def compiled_step(loss, net):
    """Compile model and loss into one graph, and refuse any break in it."""
    return torch.compile(lambda x, y: loss(net(x), y), backend="eager", fullgraph=True)


def train(step, loader, epochs=1):
    """Train without updates; return what the script saw."""
    seen = []
    for _epoch in range(epochs):
        for x, y in loader:
            value = step(x, y)
            value.backward()
            seen.append(value.item())
    return seen


@pytest.mark.parametrize("options", [{}, {"weight": torch.tensor([0.5, 1.0, 2.0])}, {"reduction": "sum"}])
def test_compiled_loss_is_recorded_without_a_graph_break_or_endless_compiling(board, options):
    loss, loader = nn.CrossEntropyLoss(**options), classes()
    run = board.watch(loss, loader)
    torch._dynamo.utils.counters.clear()
    seen = train(compiled_step(loss, nn.Linear(4, 3)), loader, epochs=4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 3  # the last batch is smaller
    run.finish()
    assert board.records(run, "loss") == seen
    assert board.records(run, "epoch", "batch") == [(e, b) for e in range(4) for b in range(7)]
    assert board.records(run, "batch_size") == [3, 3, 3, 3, 3, 3, 2] * 4
    if "weight" in options:
        expected = [options["weight"].double()[y].sum().item() for _, y in loader]
        assert board.records(run, "weight") == pytest.approx(expected * 4, rel=1e-12)
        assert board.meanings(run)["train/loss"] == ("mean", "class_weight", "exact")
    else:
        assert board.records(run, "weight") == [3.0] * 6 + [2.0] + ([3.0] * 6 + [2.0]) * 3


def test_compiled_epochs_are_written_when_the_next_begins(board):
    loss, loader = nn.CrossEntropyLoss(), classes()
    run = board.watch(loss, loader)
    step = compiled_step(loss, nn.Linear(4, 3))
    train(step, loader)
    iter(loader)
    assert len(board.records(run, "loss")) == 7


def test_compiled_validation_is_a_pass_and_keeps_its_order(board):
    loss, loader, net = nn.CrossEntropyLoss(), classes(6), nn.Linear(4, 3)
    run = board.watch(loss, loader)
    step = compiled_step(loss, net)
    for _epoch in range(2):
        train(step, loader)
        with torch.no_grad():
            for x, y in loader:
                step(x, y)
    run.finish()
    assert board.records(run, "series", "epoch", "batch", "pass_no") == [
        (f"{split}/loss", epoch, batch, 0)
        for epoch in range(2)
        for split in ("train", "val")
        for batch in range(2)
    ]


def test_eager_validation_after_compiled_training_stands_behind_it(board):
    loss, loader, net = nn.CrossEntropyLoss(), classes(6), nn.Linear(4, 3)
    run = board.watch(loss, loader)
    train(compiled_step(loss, net), loader)
    with torch.no_grad():
        loss(net(torch.zeros(2, 4)), torch.tensor([0, 1]))
    assert board.records(run, "series", "epoch", "batch") == [
        ("train/loss", 0, 0),
        ("train/loss", 0, 1),
        ("val/loss", 0, 0),
    ]


@pytest.mark.parametrize("kind", [nn.HuberLoss, nn.MSELoss, nn.L1Loss, nn.BCEWithLogitsLoss])
def test_compiled_losses_of_other_kinds_are_recorded(board, kind):
    loss = kind()
    run = board.watch(loss, classes(), weight=None)
    step = torch.compile(loss, backend="eager", fullgraph=True)
    for n in (3, 3, 2, 5, 7):
        x = torch.rand(n, 2, requires_grad=True)
        step(x, torch.rand(n, 2)).backward()
    run.finish()
    assert board.records(run, "weight") == [6.0, 6.0, 4.0, 10.0, 14.0]


def test_compiled_loss_that_is_not_reduced_is_recorded_as_its_mean(board):
    loss = nn.MSELoss(reduction="none")
    run = board.watch(loss, classes())
    step = torch.compile(lambda x: loss(x, torch.zeros(2, 2)).sum(), backend="eager", fullgraph=True)
    step(torch.tensor([[1.0, 2.0], [3.0, 0.0]], requires_grad=True)).backward()
    run.finish()
    assert board.records(run, "loss", "weight") == [(3.5, 4.0)]


def test_loss_watched_after_compiling_names_the_fix(board, caplog):
    loss, loader = nn.CrossEntropyLoss(), classes(6)
    step = compiled_step(loss, nn.Linear(4, 3))
    train(step, loader)
    run = board.watch(loss, loader)
    with caplog.at_level(logging.WARNING, "lossboard"):
        train(step, loader, epochs=4)
        run.finish()
    told = [entry.getMessage() for entry in caplog.records if "compiled call" in entry.getMessage()]
    # Newer torch may notice the hook and compile again: then there are records, and nothing to warn of.
    assert len(told) == 1 or len(board.records(run, "loss")) == 8


def test_ring_counts_what_was_overwritten():
    ring, dropped = tracing.TracedRing(torch, "cpu", size=8), []
    for n in range(11):
        ring.put(torch, torch.tensor(float(n)), None, n, None, 0.0, 0, 0, 1)
    rows = list(ring.take(lambda n, _reason: dropped.append(n)))
    assert [row[0] for row in rows] == list(range(3, 11))
    assert all(math.isnan(row[1]) for row in rows)
    assert sum(dropped) == 3
    assert list(ring.take(lambda n, _reason: dropped.append(n))) == []


def test_compiled_function_is_recorded_through_the_run(board):
    run = board.watch(nn.functional.mse_loss, classes())
    step = torch.compile(lambda x: run.loss(x, torch.zeros(3)), backend="eager", fullgraph=True)
    step(torch.ones(3, requires_grad=True)).backward()
    run.finish()
    assert board.records(run, "loss", "batch_size") == [(1.0, 3)]


def test_ring_that_no_compiled_call_wrote_to_is_never_read():
    ring = tracing.TracedRing(torch, "meta")  # reading a number off this device raises
    assert not ring.has_new()
    assert list(ring.take(print)) == []


def test_losses_of_a_device_that_hangs_share_one_deadline(board):
    losses = [nn.L1Loss() for _ in range(4)]
    run = board.watch(losses[0])
    for number, loss in enumerate(losses[1:]):
        board.watch(loss, run=run, series=f"loss {number}")
    for loss in losses:
        (watcher,) = loss._forward_hooks.values()
        watcher._device_buffer = deferred.DeviceBuffer(watcher._count_dropped, Device().copy)
        watcher._device_buffer.put(print, torch.ones(()))
    began = time.monotonic()
    run.finish(deadline_s=0.6)
    assert time.monotonic() - began < 0.6
    assert run._faults.counts() == {"device-buffer": 4}
