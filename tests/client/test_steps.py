"""Optimizer steps are counted, and of a step's several evaluations the first one counts."""

from contextlib import closing
from importlib import import_module

import pytest
import torch
from torch import nn

from loops import SEED_ITEMS, Absolute, loss_of, seed_loader, train
from lossboard.steps import SILENT_RECORDS, StepClock
from offline import Board


@pytest.fixture
def board(tmp_path):
    with closing(Board(tmp_path)) as board:
        yield board


def global_hooks():
    optimizer = import_module("torch.optim.optimizer")
    return len(optimizer._global_optimizer_pre_hooks), len(optimizer._global_optimizer_post_hooks)


def test_records_carry_the_steps_before_them(board):
    loss, loader = nn.L1Loss(), seed_loader(2)
    run = board.watch(loss, loader)
    train(loss, loader, epochs=2)
    assert board.records(run, "step") == list(range(8))


def test_accumulated_batches_share_a_step(board):
    loss, loader, model = nn.L1Loss(), seed_loader(2), Absolute()
    run = board.watch(loss, loader)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    for _epoch in range(2):
        for batch, (x,) in enumerate(loader):
            (loss_of(loss, model, x) / 2).backward()
            if batch % 2:
                optimizer.step()
    assert board.records(run, "step") == [0, 0, 1, 1, 2, 2, 3, 3]


def test_two_optimizers_in_turn_count_one_step_an_iteration(board):
    loss, loader, one, two = nn.L1Loss(), seed_loader(2), Absolute(), Absolute()
    run = board.watch(loss, loader)
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.0) for model in (one, two)]
    for (x,) in loader:
        loss_of(loss, one, x).backward()
        for optimizer in optimizers:
            optimizer.step()
    assert board.records(run, "step") == [0, 1, 2, 3]


def test_of_a_closures_evaluations_the_first_counts(board):
    # The oracle's lbfgs_closure: naively all six calls would be averaged to 31/12.
    loss, model = nn.L1Loss(), nn.Linear(1, 1)
    run = board.watch(loss)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=4, line_search_fn="strong_wolfe")
    calls = []

    def closure():
        optimizer.zero_grad()
        value = loss(model(torch.ones(4, 1)), torch.full((4, 1), 9.0))
        value.backward()
        calls.append(value.item())
        return value

    run.epoch = 0
    returned = [optimizer.step(closure).item() for _ in range(2)]
    assert len(calls) > 4
    assert board.records(run, "loss") == returned
    assert run._faults.counts() == {"closure": len(calls) - 2}


def test_calls_of_one_evaluation_in_a_closure_all_count(board):
    loss, model = nn.L1Loss(), nn.Linear(1, 1)
    run = board.watch(loss)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)

    def closure():
        optimizer.zero_grad()
        value = sum(loss(model(torch.ones(2, 1)), torch.full((2, 1), goal)) for goal in (5.0, 6.0, 7.0))
        value.backward()
        return value

    run.epoch = 0
    first = optimizer.step(closure).item()
    assert len(board.records(run, "loss")) == 3
    assert sum(board.records(run, "loss")) == pytest.approx(first)


def test_hooks_of_all_optimizers_go_with_the_last_watched_loss(board):
    before = global_hooks()
    one, two = nn.L1Loss(), nn.MSELoss()
    run = board.watch(one)
    board.watch(two, run=run, series="two")
    assert global_hooks() == (before[0] + 1, before[1] + 1)
    run.finish()
    assert global_hooks() == before


def test_script_that_never_steps_an_optimizer_of_torchs_has_no_steps():
    clock = StepClock()
    told = [clock.now() for _ in range(SILENT_RECORDS + 2)]
    assert told[0] == 0
    assert told[-1] is None


@pytest.mark.filterwarnings("ignore:.*script_method.*:DeprecationWarning")  # torch's own, at first compiling
def test_compiled_step_is_neither_broken_nor_compiled_anew(board):
    loss, loader, model = nn.L1Loss(), seed_loader(1), Absolute()
    run = board.watch(loss, loader)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    counter = import_module("torch._dynamo.testing").CompileCounter()
    step = torch.compile(optimizer.step, backend=counter)
    for _epoch in range(2):
        for (x,) in loader:
            optimizer.zero_grad()
            loss_of(loss, model, x).backward()
            step()
    torch._dynamo.reset()
    assert counter.frame_count <= 2
    assert board.records(run, "loss") == SEED_ITEMS * 2
