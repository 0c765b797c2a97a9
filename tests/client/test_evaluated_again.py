"""A loss that torch runs again, differentiates twice or maps: one record, and the script's own results."""

import logging

import pytest
import torch
from torch import nn
from torch.func import grad, jacrev, vmap
from torch.utils.checkpoint import checkpoint

from loops import Absolute, seed_loader, validate, warnings_in

PLACE = ("epoch", "batch")


def test_loss_run_again_in_backward_is_counted_only(board):
    loss, loader = nn.L1Loss(), seed_loader(8)
    run = board.watch(loss, loader)
    x = torch.ones(4, requires_grad=True)
    x.register_hook(lambda _grad: again.append(loss_with_gradients(loss)))
    again = []
    for _ in loader:
        loss(x, torch.zeros(4)).backward()
    assert len(again) == 1
    assert board.records(run, *PLACE) == [(0, 0)]
    assert run._faults.counts() == {"recompute": 1}


def loss_with_gradients(loss):
    with torch.enable_grad():
        return loss(torch.ones(2, requires_grad=True), torch.zeros(2))


def checkpointed(loss, prediction, is_reentrant):
    return checkpoint(lambda y: loss(y, torch.zeros_like(y)), prediction, use_reentrant=is_reentrant)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True")  # torch's, of the validation
@pytest.mark.parametrize("is_reentrant", [True, False])
def test_loss_under_activation_checkpointing_is_training_and_counts_once(board, is_reentrant):
    loss, loader, model = nn.L1Loss(), seed_loader(4), Absolute()
    run = board.watch(loss, loader)
    validate(loss, loader)
    for _epoch in range(2):
        for (x,) in loader:
            checkpointed(loss, model(x), is_reentrant).backward()
        with torch.no_grad():
            for (x,) in loader:
                checkpointed(loss, model(x), is_reentrant)
    places = [(epoch, batch) for epoch in range(2) for batch in range(2)]
    assert board.records(run, *PLACE, series="train/loss") == places
    passes = [(0, 0), (0, 0), (0, 1), (0, 1), (1, 0), (1, 0)]
    assert board.records(run, "epoch", "pass_no", series="val/loss") == passes


@pytest.mark.parametrize("order", [jacrev, lambda function: vmap(grad(function))])
def test_loss_under_torchs_function_transforms_costs_the_script_nothing(board, caplog, order):
    loss = nn.MSELoss()
    weights = torch.arange(6.0).reshape(3, 2)

    def objective(weight):
        return loss(weight * 2, torch.ones_like(weight))

    expected = order(objective)(weights)
    run = board.watch(loss, strict=False)
    run.epoch = 0
    with caplog.at_level(logging.WARNING, "lossboard"):
        assert torch.equal(order(objective)(weights), expected)
    if order is not jacrev:  # which evaluates once, as it is
        assert run._faults.counts() == {"transformed": 1}
        assert "torch.func.vmap" in warnings_in(caplog)[0]


def test_gradients_of_gradients_are_those_of_an_unwatched_loss(board):
    def penalise(loss):
        torch.manual_seed(3)
        net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
        x, y = torch.randn(6, 4, requires_grad=True), torch.tensor([0, 1, 2, 0, 1, 2])
        for _ in range(3):
            value = loss(net(x), y)
            (slope,) = torch.autograd.grad(value, x, create_graph=True)
            (value + 10 * slope.norm(2, 1).square().mean()).backward()
        return [part.grad.tolist() for part in net.parameters()]

    loss = nn.CrossEntropyLoss()
    expected = penalise(loss)
    board.watch(loss)
    assert penalise(loss) == expected
