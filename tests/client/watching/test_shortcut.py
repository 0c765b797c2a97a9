"""Calls that go the short way leave the records that the script itself would write, whatever is between."""

import sys
from threading import Thread
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

CLASSES = 5
ITEMS = 46  # in batches of 4: the last one has 2
RECORD = ("epoch", "batch", "loss", "batch_size", "weight", "step")


class Loop:
    """A small classifier, its loader, and the script's own list of what each training call was."""

    def __init__(self, loss: Any) -> None:
        torch.manual_seed(3)
        self.loss = loss
        self.net = nn.Linear(3, CLASSES)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.1)
        targets = torch.randint(0, CLASSES, (ITEMS,))
        targets[::7] = -100
        self.loader = DataLoader(TensorDataset(torch.randn(ITEMS, 3), targets), batch_size=4)
        self.own: list[tuple[Any, ...]] = []
        self.steps = 0

    def call(self, epoch: int, batch: int, x: Tensor, y: Tensor) -> Tensor:
        """Evaluate the loss for training and note the record that it should become."""
        value = self.loss(self.net(x), y)
        weight = float((y != -100).sum())
        self.own.append((epoch, batch, value.item(), len(x), weight, self.steps))
        return value

    def step(self, value: Tensor) -> None:
        """Go backward and take an optimizer step."""
        self.optimizer.zero_grad()
        value.backward()
        self.optimizer.step()
        self.steps += 1

    def train(self, epochs: int, first: int = 0) -> None:
        """Train for some epochs without anything else."""
        for epoch in range(first, first + epochs):
            for batch, (x, y) in enumerate(self.loader):
                self.step(self.call(epoch, batch, x, y))


def enters_long_way(call: Any) -> bool:
    """Tell whether a call of the loss enters `Channel.record`."""
    entered = []

    def note(frame: Any, event: str, _arg: Any) -> None:
        if event == "call" and frame.f_code.co_qualname == "Channel.record":
            entered.append(frame)

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return bool(entered)


@pytest.fixture
def watched(board):
    """A watched loop whose calls go the short way by now, and its run."""
    loop = Loop(nn.CrossEntropyLoss())
    run = board.watch(loop.loss, loop.loader)
    loop.train(2)
    return loop, run


def test_plain_calls_go_the_short_way_and_say_the_same(board, watched):
    loop, run = watched
    iterator = iter(loop.loader)
    calls = []
    for batch, (x, y) in enumerate(iterator):
        calls.append(enters_long_way(lambda at=(batch, x, y): loop.step(loop.call(2, *at))))
    assert calls == [True] + [False] * 11  # the first one begins the epoch
    assert board.records(run, *RECORD) == loop.own


@pytest.mark.parametrize(
    "loss",
    [
        nn.MSELoss(),
        nn.L1Loss(reduction="sum"),
        nn.KLDivLoss(reduction="batchmean"),
        nn.functional.mse_loss,
        lambda output, target: ((output - target) ** 2).mean(),
    ],
)
def test_losses_of_every_kind_say_the_same_on_both_ways(board, loss):
    net = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    run = board.watch(loss)
    run.epoch = 0
    called = run.loss if run.loss is not None else loss
    x, target = torch.randn(6, 3), torch.rand(6, 2)
    for _ in range(12):
        value = called(net(x), target)
        value.backward()
        optimizer.step()
    rows = board.records(run, "loss", "batch_size", "weight")
    assert len(rows) == 12
    assert len(set(rows)) == 1  # the same batch and net, on the long way and on the short one
    assert rows[0][0] == value.item()


def test_values_of_every_size_keep_their_place(board, watched):
    loop, run = watched
    for batch, (x, y) in enumerate(loop.loader):
        value = loop.call(2, batch, x * (1e30 if batch % 3 else 1), y)
        if batch == 5:
            value = value * float("nan")
        loop.step(value)
    losses = [own[2] for own in loop.own]
    assert repr(board.records(run, "loss")) == repr(losses)


def test_loop_that_changes_the_loss_in_place_keeps_what_was_returned(board, watched):
    loop, run = watched
    for batch, (x, y) in enumerate(loop.loader):
        value = loop.call(2, batch, x, y)
        value /= 4
        loop.step(value)
    assert board.records(run, *RECORD) == loop.own


def test_validation_between_two_batches_is_a_pass_and_training_goes_on(board, watched):
    loop, run = watched
    for batch, (x, y) in enumerate(loop.loader):
        loop.step(loop.call(2, batch, x, y))
        if batch in (3, 7):
            with torch.no_grad():
                loop.loss(loop.net(x), y)
                loop.loss(loop.net(x), y)
    assert board.records(run, *RECORD, series="train/loss") == loop.own
    assert board.records(run, "epoch", "pass_no", "batch", series="val/loss") == [
        (2, pass_no, batch) for pass_no in range(2) for batch in range(2)
    ]


def test_second_look_at_the_training_loader_begins_no_epoch(board, watched):
    loop, run = watched
    for batch, (x, y) in enumerate(loop.loader):
        loop.step(loop.call(2, batch, x, y))
        if batch == 4:
            next(iter(loop.loader))
    assert board.records(run, *RECORD) == loop.own


def test_recomputed_calls_are_counted_and_not_recorded(board, watched):
    loop, run = watched
    x, y = next(iter(loop.loader))
    for _ in range(5):
        losses = board.records(run, "loss")
        value = checkpoint(lambda x: loop.loss(loop.net(x), y), x.requires_grad_(), use_reentrant=True)
        loop.step(value)
        assert board.records(run, "loss") == [*losses, value.item()]
    assert run._faults.counts()["recompute"] == 5


def test_closure_of_an_optimizer_counts_its_first_evaluation_only(board, watched):
    loop, run = watched
    optimizer = torch.optim.LBFGS(loop.net.parameters(), lr=0.1, max_iter=4)
    x, y = next(iter(loop.loader))
    evaluations = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loop.loss(loop.net(x), y)
        evaluations.append(value.item())
        value.backward()
        return value

    before = len(board.records(run, "loss"))
    optimizer.step(closure)
    assert len(evaluations) > 1
    assert board.records(run, "loss")[before:] == evaluations[:1]


def test_loss_that_is_told_another_reduction_is_a_series_of_its_own_meaning(board, watched):
    loop, run = watched
    for batch, (x, y) in enumerate(loop.loader):
        loop.loss.reduction = "sum" if batch >= 6 else "mean"
        loop.step(loop.call(2, batch, x, y))
    assert board.records(run, "epoch", "batch", "loss", "batch_size") == [row[:4] for row in loop.own]
    reductions = {meaning.reduction for meaning in run._outlet.writer._journal.series}
    assert reductions == {"mean", "sum"}


def test_calls_after_the_loaders_iteration_has_ended_are_noticed(board, watched, caplog):
    loop, run = watched
    x, y = next(iter(loop.loader))
    for batch, (inputs, targets) in enumerate(loop.loader):
        loop.step(loop.call(2, batch, inputs, targets))
    for batch in range(12, 30):
        loop.step(loop.call(2, batch, x, y))
    assert board.records(run, *RECORD) == loop.own
    assert any("iteration has ended" in record.getMessage() for record in caplog.records)


def test_calls_in_several_threads_have_a_batch_each(board):
    run = board.watch(nn.functional.mse_loss)
    run.epoch = 0
    x, target = torch.randn(4, 3, requires_grad=True), torch.zeros(4, 3)
    optimizer = torch.optim.SGD([x], lr=0.0)
    for _ in range(6):
        run.loss(x, target).backward()
        optimizer.step()
    threads = [Thread(target=lambda: [run.loss(x, target) for _ in range(2_000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(board.records(run, "batch")) == list(range(8_006))


def test_finished_run_records_nothing_more(board, watched):
    loop, run = watched
    run.finish()
    x, y = next(iter(loop.loader))
    own = list(loop.own)
    loop.step(loop.call(2, 0, x, y))
    assert board.records(run, *RECORD) == own
