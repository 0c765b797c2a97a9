"""What a watched call means: its reduction, its weight, its unit and the items of its batch."""

import logging

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from loops import seed_loader, warnings_in


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


def test_loss_that_is_not_reduced_is_recorded_as_the_mean_that_torch_would_have_returned(board, caplog):
    target = torch.tensor([0, 1, -100, 2])
    options = {"weight": torch.tensor([1.0, 2.0, 4.0])}
    loss, logits = nn.CrossEntropyLoss(reduction="none", **options), torch.randn(4, 3, requires_grad=True)
    run = board.watch(loss)
    run.epoch = 0
    with caplog.at_level(logging.WARNING, "lossboard"):
        loss(logits, target).mean().backward()  # by 4, the ignored target included: not what is recorded
    ((value, size, weight),) = board.records(run, "loss", "batch_size", "weight")
    assert value == pytest.approx(nn.CrossEntropyLoss(**options)(logits, target).item(), rel=1e-6)
    assert (size, weight) == (4, 7.0)
    assert board.meanings(run)["train/loss"] == ("mean", "class_weight", "exact")
    assert warnings_in(caplog) == []


def test_vector_of_an_unknown_loss_is_recorded_as_its_plain_mean_and_says_so(board, caplog):
    run = board.watch(lambda x: x.square())
    run.epoch = 0
    with caplog.at_level(logging.WARNING, "lossboard"):
        for _ in range(2):
            run.loss(torch.tensor([[1.0, 2.0], [3.0, 0.0]], requires_grad=True))
    assert board.records(run, "loss", "batch_size", "weight") == [(3.5, 2, 4.0)] * 2
    assert board.meanings(run)["train/loss"] == ("mean", "elements", "assumed")
    assert len([warning for warning in warnings_in(caplog) if "plain mean" in warning]) == 1


@pytest.mark.parametrize("shape", [(3,), (3, 2)])
def test_vector_is_reduced_by_the_weights_that_the_script_states(board, shape):
    weights = torch.tensor([1.0, 0.0, 3.0])
    run = board.watch(nn.L1Loss(reduction="none"), weight=lambda *_: weights)
    run.epoch = 0
    values = torch.tensor([2.0, 9.0, 4.0]).view(-1, *([1] * (len(shape) - 1))).expand(shape)
    loss = run._watched[0][0]
    loss(values.clone().requires_grad_(), torch.zeros(shape))
    per_item = shape[1] if len(shape) > 1 else 1
    assert board.records(run, "loss", "weight") == [(3.5, 4.0 * per_item)]
    assert board.meanings(run)["train/loss"][2] == "declared"


@pytest.mark.filterwarnings("ignore:Using a target size")  # torch's own, at every such call
def test_input_and_target_that_are_spread_over_each_other_are_told_once(board, caplog):
    loss = nn.MSELoss()
    run = board.watch(loss)
    run.epoch = 0
    with caplog.at_level(logging.WARNING, "lossboard"):
        for _ in range(2):
            loss(torch.ones(3, 1, requires_grad=True), torch.zeros(3))
    (warning,) = warnings_in(caplog)
    assert "(3, 1)" in warning
    assert "(3, 3)" in warning
    assert board.records(run, "weight") == [9.0, 9.0]
    assert "broadcast" in run._outlet.traits["train/loss"]


@pytest.mark.parametrize("weight", [7, lambda output, target: (target == 0).sum()])
def test_declared_weight_is_taken_from_the_script(board, weight):
    loss = nn.SmoothL1Loss()
    run = board.watch(loss, weight=weight)
    loss(torch.ones(7, requires_grad=True), torch.zeros(7))
    assert board.records(run, "batch_size", "weight") == [(7, 7.0)]
    assert board.meanings(run)["train/loss"] == ("mean", "items", "declared")


@pytest.mark.parametrize("weight", [lambda *_: 1 / 0, lambda *_: None, lambda _only: 1.0])
def test_weight_that_fails_is_told_once_and_the_losses_own_taken(board, caplog, weight):
    loss = nn.SmoothL1Loss()
    run = board.watch(loss, weight=weight, strict=False)
    run.epoch = 0
    with caplog.at_level(logging.WARNING, "lossboard"):
        for _ in range(3):
            loss(torch.ones(7, 2, requires_grad=True), torch.zeros(7, 2))
    assert board.records(run, "weight") == [14.0] * 3
    assert board.meanings(run)["train/loss"] == ("mean", "elements", "exact")
    assert run._faults.counts() == {"weight-failed": 1}
    (warning,) = warnings_in(caplog)
    assert "weight= of train/loss is not asked any more" in warning


def test_declared_weight_that_the_probe_confirms_is_nothing_to_warn_of(board, caplog):
    run = board.watch(lambda x: x.square().mean(), weight=len)
    run.epoch = 0
    with caplog.at_level(logging.WARNING, "lossboard"):
        run.loss(rows_of(9))
    assert warnings_in(caplog) == []
    assert run._outlet.traits["train/loss"]["finding"] == "mean_weighted"


def rows_of(n):
    return torch.linspace(0.1, 3.0, n * 2).view(n, 2).requires_grad_()


@pytest.mark.parametrize(
    ("loss", "finding", "meaning"),
    [
        (lambda x: x.square().mean(), "mean", ("mean", "items", "probed")),
        (lambda x: x.square().sum(), "sum", ("sum", "items", "probed")),
        (lambda x: x.square().mean().sqrt(), "non_linear", ("unknown", "items", "probed")),
        (lambda x: x.square().mean(1).max(), "batch_coupled", ("unknown", "items", "probed")),
        (
            lambda x: (x.prod(1) * x[:, 0]).sum() / x[:, 0].sum(),
            "mean_weighted",
            ("mean", "items", "unknown"),
        ),
    ],
)
def test_function_of_the_script_is_probed_once_and_labelled_by_what_was_found(
    board, caplog, loss, finding, meaning
):
    run = board.watch(loss)
    run.epoch = 0
    with caplog.at_level(logging.WARNING, "lossboard"):
        for n in (12, 12, 7):
            run.loss(rows_of(n))
    assert board.meanings(run)["train/loss"] == meaning
    assert run._outlet.traits["train/loss"]["finding"] == finding
    assert board.records(run, "batch_size") == [12, 12, 7]
    assert len(warnings_in(caplog)) == (0 if finding in ("mean", "sum") else 1)


def test_batch_too_small_to_tell_is_labelled_assumed_until_one_tells(board):
    run = board.watch(lambda x: x.square().sum())
    run.epoch = 0
    run.loss(rows_of(2))
    assert board.meanings(run)["train/loss"] == ("mean", "items", "assumed")
    run.loss(rows_of(12))
    assert board.records(run, "series", "batch_size") == [("train/loss", 2), ("train/loss", 12)]
    assert run._outlet.traits["train/loss"]["finding"] == "sum"


def test_probe_that_raises_leaves_training_untouched_and_the_weight_assumed(board, caplog):
    calls = []

    def moody(x):
        calls.append(len(x))
        if len(x) != 12:
            raise ValueError("twelve items or none")
        return x.mean()

    run = board.watch(moody)
    run.epoch = 0
    with caplog.at_level(logging.WARNING, "lossboard"):
        for _ in range(5):
            assert run.loss(rows_of(12)).requires_grad
    assert board.meanings(run)["train/loss"] == ("mean", "items", "assumed")
    assert board.records(run, "batch_size") == [12] * 5
    assert len(warnings_in(caplog)) == 1
    assert len(calls) < 40


def test_unknown_reduction_of_a_loss_of_the_script_is_labelled_unknown_where_nothing_tells(board):
    class Odd(nn.Module):
        reduction = "median"

        def forward(self, x):
            return x.median() + torch.rand(())

    loss = Odd()
    run = board.watch(loss)
    run.epoch = 0
    loss(rows_of(12))
    assert board.meanings(run)["train/loss"] == ("unknown", "items", "unknown")


def test_negative_weight_of_the_script_is_refused_once_and_counted(board, caplog):
    loss = nn.SmoothL1Loss()
    run = board.watch(loss, weight=lambda *_: -1.0, strict=False)
    run.epoch = 0
    with caplog.at_level(logging.WARNING, "lossboard"):
        for _ in range(2):
            loss(torch.ones(7, requires_grad=True), torch.zeros(7))
    assert board.records(run, "loss") == []
    assert run._faults.counts() == {"refused-by-client": 2}
    (warning,) = warnings_in(caplog)
    assert "at least 0" in warning


def test_loader_that_raises_in_the_middle_costs_nothing_but_its_own_batches(board):
    class Broken(TensorDataset):
        def __getitem__(self, item):
            if item == 5 and not self.is_mended:
                raise OSError("disk gone")
            return super().__getitem__(item)

    data = Broken(torch.arange(8.0))
    data.is_mended = False
    loss, loader = nn.L1Loss(), DataLoader(data, batch_size=2)
    run = board.watch(loss, loader)

    def learn():
        for (x,) in loader:
            loss(x.requires_grad_(), torch.zeros_like(x)).backward()

    with pytest.raises(OSError, match="disk gone"):
        learn()
    data.is_mended = True
    learn()
    places = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (1, 3)]
    assert board.records(run, "epoch", "batch") == places
    assert run._outlet.traits["train/loss"]["dataset_items"] == 8


def test_function_is_watched_through_the_run(board):
    loader, scale = seed_loader(4), torch.ones((), requires_grad=True)
    run = board.watch(nn.functional.l1_loss, loader)
    assert run.loss.__name__ == "l1_loss"
    for (x,) in loader:
        run.loss(scale * x, torch.zeros_like(x)).backward()
    assert board.records(run, "epoch", "batch", "loss", "batch_size") == [(0, 0, 3.75, 4), (0, 1, 2.25, 4)]
    assert board.meanings(run)["train/loss"] == ("mean", "items", "exact")
    run.finish()
    assert run.loss(torch.ones(2), torch.zeros(2)) == 1


def test_function_with_a_reduction_of_its_own_is_read_by_it(board):
    run = board.watch(nn.functional.mse_loss)
    run.loss(torch.ones(3, requires_grad=True), torch.zeros(3), reduction="sum")
    assert board.meanings(run)["train/loss"] == ("sum", "items", "exact")


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
