"""What a loss is multiplied by on its way to backward is found, told once, and changes no record."""

import logging

import pytest
import torch
from torch import nn

from loops import Absolute, loss_of, seed_loader, warnings_in

SEED_BATCHES = [4.5, 3.0, 2.5, 2.0]


def accumulate(loss, loader, micro, epochs=4, divide=lambda value, k: value / k, kind=torch.float32):
    model = Absolute().to(kind)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    for _epoch in range(epochs):
        for batch, (x,) in enumerate(loader):
            divide(loss_of(loss, model, x.to(kind)), micro).backward()
            if (batch + 1) % micro == 0:
                optimizer.step()
                optimizer.zero_grad()


def in_place(value, k):
    value /= k
    return value


@pytest.mark.parametrize("divide", [lambda value, k: value / k, in_place])
def test_accumulation_is_found_and_the_undivided_loss_recorded(board, caplog, divide):
    loss, loader = nn.L1Loss(), seed_loader(2)
    run = board.watch(loss, loader)
    with caplog.at_level(logging.WARNING, "lossboard"):
        accumulate(loss, loader, 2, divide=divide)
    assert board.records(run, "loss") == SEED_BATCHES * 4
    assert run._outlet.traits["train/loss"]["divided_by"] == 2.0
    (warning,) = warnings_in(caplog)
    assert "divided by 2 before backward" in warning


@pytest.mark.parametrize("micro", [3, 6, 7])
def test_accumulation_is_found_through_the_rounding_of_a_bfloat16_gradient(board, micro):
    loss, loader = nn.L1Loss(), seed_loader(1, drop_last=True)
    run = board.watch(loss, loader)
    accumulate(loss, [batch for _ in range(6) for batch in loader][: 6 * micro], micro, kind=torch.bfloat16)
    assert run._outlet.traits["train/loss"]["divided_by"] == micro


def test_plain_training_is_not_warned_about(board, caplog):
    loss, loader = nn.L1Loss(), seed_loader(2)
    run = board.watch(loss, loader)
    with caplog.at_level(logging.WARNING, "lossboard"):
        accumulate(loss, loader, 1)
    assert "divided_by" not in run._outlet.traits["train/loss"]
    assert warnings_in(caplog) == []


def test_accumulation_that_divides_nothing_is_no_factor(board):
    loss, loader = nn.L1Loss(), seed_loader(2)
    run = board.watch(loss, loader)
    accumulate(loss, loader, 2, divide=lambda value, k: value)
    assert "divided_by" not in run._outlet.traits["train/loss"]


def test_factor_of_a_loss_in_a_sum_is_told(board, caplog):
    loss, loader = nn.L1Loss(), seed_loader(2)
    run = board.watch(loss, loader)
    with caplog.at_level(logging.WARNING, "lossboard"):
        accumulate(loss, loader, 1, divide=lambda value, k: 0.25 * value)
    assert run._outlet.traits["train/loss"]["divided_by"] == 4.0
    assert "multiplied by 0.25 before backward" in warnings_in(caplog)[0]


@pytest.mark.parametrize("micro", [1, 3])
def test_amp_scale_is_no_factor_and_a_skipped_step_is_counted(board, micro):
    loss, loader, model = nn.L1Loss(), seed_loader(1), Absolute()
    run = board.watch(loss, loader)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    epochs, bad = 6, {10, 31}
    for number in range(epochs):
        for batch, (x,) in enumerate(loader):
            at = number * 8 + batch
            value = loss_of(loss, model, x) / micro
            scaler.scale(value * (float("inf") if at in bad else 1.0)).backward()
            if (at + 1) % micro == 0:
                scaler.step(optimizer)
                scaler.update()
                optimizer.zero_grad()
    run.finish()
    assert len(board.records(run, "loss")) == epochs * 8
    if micro == 1:
        assert run._faults.counts() == {"skipped-step": 2}
        assert max(board.records(run, "step")) == epochs * 8 - 1 - 2
    else:
        assert run._outlet.traits["train/loss"]["divided_by"] == 3.0


def test_hook_on_the_gradient_goes_when_the_factor_is_known(board):
    loss, model = nn.L1Loss(), Absolute()
    board.watch(loss)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    for _ in range(6):
        value = loss_of(loss, model, torch.ones(2))
        value.backward()
        optimizer.step()
    assert not value._backward_hooks


def test_bfloat16_loss_tells_its_dtype(board):
    loss, model = nn.L1Loss(), Absolute().bfloat16()
    run = board.watch(loss)
    loss_of(loss, model, torch.ones(2, dtype=torch.bfloat16)).backward()
    assert run._outlet.traits["train/loss"]["dtype"] == "bfloat16"
