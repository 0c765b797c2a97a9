"""What a watched call means: its reduction, its weight, its unit and the items of its batch."""

import logging
from contextlib import closing

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from loops import seed_loader, warnings_in
from offline import Board


@pytest.fixture
def board(tmp_path):
    with closing(Board(tmp_path)) as board:
        yield board


def test_loss_is_found_when_called_by_name(board):
    loss, loader = nn.CrossEntropyLoss(), seed_loader(4)
    run = board.watch(loss, loader)
    target = torch.tensor([0, 1, -100])
    loss(target=target, input=torch.randn(3, 2, requires_grad=True))
    assert board.records(run, "batch_size", "weight") == [(3, 2.0)]


@pytest.mark.parametrize("rows", [(3, 4), (12,)])
def test_language_model_loss_weighs_tokens_and_counts_items(board, rows):
    loss, loader = nn.CrossEntropyLoss(), seed_loader(3)
    run = board.watch(loss, loader)
    target = torch.zeros(rows, dtype=torch.long)
    target.view(-1)[:5] = -100
    logits = torch.randn(rows[0], 6, *rows[1:], requires_grad=True)
    for _ in loader:
        loss(logits, target)
        break
    assert board.records(run, "batch_size", "weight") == [(3, 7.0)]
    assert board.meanings(run)["train/loss"] == ("mean", "tokens", "exact")


def test_batch_of_ignored_targets_is_recorded_as_nan_of_weight_zero(board):
    loss = nn.CrossEntropyLoss()
    run = board.watch(loss)
    loss(torch.randn(2, 3, requires_grad=True), torch.full((2,), -100))
    ((value, size, weight),) = board.records(run, "loss", "batch_size", "weight")
    assert value != value
    assert (size, weight) == (2, 0.0)


def test_empty_batch_with_a_sum_is_counted_and_not_recorded(board):
    loss = nn.MSELoss(reduction="sum")
    run = board.watch(loss)
    loss(torch.zeros(0, requires_grad=True), torch.zeros(0))
    assert board.records(run, "loss") == []
    assert run._faults.counts() == {"empty-batch": 1}


def test_loss_that_is_not_reduced_is_recorded_as_its_plain_mean_and_says_so(board, caplog):
    loss, loader = nn.MSELoss(reduction="none"), seed_loader(4)
    run = board.watch(loss, loader)
    with caplog.at_level(logging.WARNING, "lossboard"):
        for _ in loader:
            x = torch.tensor([[1.0, 2.0], [3.0, 0.0]], requires_grad=True)
            assert loss(x, torch.zeros(2, 2)).shape == (2, 2)
    assert board.records(run, "loss", "batch_size", "weight") == [(3.5, 2, 4.0)] * 2
    assert board.meanings(run)["train/loss"] == ("mean", "elements", "assumed")
    assert len(warnings_in(caplog)) == 1


@pytest.mark.parametrize("weight", [7, lambda output, target: (target == 0).sum()])
def test_declared_weight_is_taken_from_the_script(board, weight):
    loss = nn.SmoothL1Loss()
    run = board.watch(loss, weight=weight)
    loss(torch.ones(7, requires_grad=True), torch.zeros(7))
    assert board.records(run, "batch_size", "weight") == [(7, 7.0)]
    assert board.meanings(run)["train/loss"] == ("mean", "items", "declared")


@pytest.mark.parametrize(
    ("kind", "reduction"), [(nn.HuberLoss, "mean"), (nn.HuberLoss, "sum"), (nn.KLDivLoss, "batchmean")]
)
def test_loss_without_a_known_weight_is_labelled_assumed(board, kind, reduction):
    loss = kind(reduction=reduction)
    run = board.watch(loss)
    loss(torch.rand(5, 2, requires_grad=True), torch.rand(5, 2))
    ((size, weight),) = board.records(run, "batch_size", "weight")
    assert size == 5
    assert weight is None
    assert board.meanings(run)["train/loss"] == ("sum" if reduction == "sum" else "mean", "items", "assumed")


def test_function_is_watched_through_the_run(board):
    loader, scale = seed_loader(4), torch.ones((), requires_grad=True)
    run = board.watch(nn.functional.l1_loss, loader)
    assert run.loss.__name__ == "l1_loss"
    for (x,) in loader:
        run.loss(scale * x, torch.zeros_like(x)).backward()
    assert board.records(run, "epoch", "batch", "loss", "batch_size") == [(0, 0, 3.75, 4), (0, 1, 2.25, 4)]
    assert board.meanings(run)["train/loss"] == ("mean", "items", "assumed")
    run.finish()
    assert run.loss(torch.ones(2), torch.zeros(2)) == 1


def test_function_with_a_reduction_of_its_own_is_read_by_it(board):
    run = board.watch(nn.functional.mse_loss)
    run.loss(torch.ones(3, requires_grad=True), torch.zeros(3), reduction="sum")
    assert board.meanings(run)["train/loss"] == ("sum", "items", "assumed")


def test_function_that_returns_a_number_is_recorded(board):
    run = board.watch(lambda batch: sum(batch) / len(batch))
    assert run.loss([1.0, 2.0]) == 1.5
    assert board.records(run, "loss", "batch_size") == [(1.5, None)]


def test_last_batch_of_a_language_model_counts_its_own_items(board):
    loss, loader = nn.CrossEntropyLoss(), DataLoader(TensorDataset(torch.zeros(20, 16).long()), batch_size=8)
    run = board.watch(loss, loader)
    weights = torch.zeros(16, 5, requires_grad=True)
    for _ in range(2):
        for (tokens,) in loader:
            loss((weights + torch.zeros(len(tokens), 16, 5)).view(-1, 5), tokens.view(-1))
    assert board.records(run, "batch_size") == [8, 8, 4] * 2
