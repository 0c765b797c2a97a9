"""Optimizer steps are counted, and of a step's several evaluations the first one counts."""

import subprocess
import sys
import tempfile
from importlib import import_module

import pytest
import torch
from torch import nn

from loops import SEED_ITEMS, Absolute, loss_of, seed_loader, train
from lossboard.watching.steps import SILENT_RECORDS, StepClock


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


def test_optimizer_of_a_second_phase_goes_on_where_the_first_stood(board):
    loss, loader, model = nn.L1Loss(), seed_loader(2), Absolute()
    run = board.watch(loss, loader)
    for _phase in range(2):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        for (x,) in loader:
            loss_of(loss, model, x).backward()
            optimizer.step()
    steps = board.records(run, "step")
    assert steps[:5] == [0, 1, 2, 3, 4]
    assert steps[5:] in ([4, 5, 6], [5, 6, 7])  # the first step of another may be of the same round


def test_critic_that_steps_more_often_than_its_generator_sets_the_pace(board):
    loss, loader, one, two = nn.L1Loss(), seed_loader(1), Absolute(), Absolute()
    run = board.watch(loss, loader)
    critic, generator = (torch.optim.SGD(model.parameters(), lr=0.0) for model in (one, two))
    for batch, (x,) in enumerate(loader):
        loss_of(loss, one, x).backward()
        critic.step()
        if batch % 4 == 3:
            generator.step()
    assert board.records(run, "step") == list(range(8))


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


def test_step_that_raised_does_not_make_closures_of_what_comes_after_it(board):
    loss, model = nn.L1Loss(), nn.Linear(1, 1)
    run = board.watch(loss)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)

    def closure():
        raise MemoryError

    run.epoch = 0
    with pytest.raises(MemoryError):
        optimizer.step(closure)
    for _ in range(3):
        loss(model(torch.ones(4, 1)), torch.zeros(4, 1)).backward()
    assert len(board.records(run, "loss")) == 3
    assert run._faults.counts() == {}


def test_loop_that_updates_its_weights_by_hand_claims_no_steps():
    script = """
import sys, torch, lossboard
from lossboard.journal.reading import read_records
from pathlib import Path
loss, weight = torch.nn.MSELoss(), torch.ones(1, requires_grad=True)
run = lossboard.watch(loss, mode="offline", dir=sys.argv[1], strict=True)
for run.epoch in range(3):
    loss(weight, torch.zeros(1)).backward()
    with torch.no_grad():
        weight -= 0.1 * weight.grad
        weight.grad = None
run.finish()
(folder,) = Path(sys.argv[1], "journal").iterdir()
print([record.step for _, record in read_records(folder)])
"""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", script, folder], capture_output=True, text=True, check=True
        )
    assert done.stdout.strip() == "[None, None, None]"


def test_script_that_never_steps_an_optimizer_of_torchs_has_no_steps():
    torch.optim.SGD([nn.Parameter(torch.ones(()))], lr=0.0)
    clock = StepClock()
    told = [clock.before_first() for _ in range(SILENT_RECORDS + 2)]
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
