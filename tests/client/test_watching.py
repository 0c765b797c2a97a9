"""Real torch loops, watched: each loss becomes the record that it means, and the loop does not notice."""

import copy
import logging
import pickle
import weakref
from contextlib import closing

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from offline import Board

SEED_ITEMS = [4.0, 5.0, 2.0, 4.0, 3.0, 2.0, 3.0, 1.0]
SEED_BATCHES = {2: [4.5, 3.0, 2.5, 2.0], 4: [3.75, 2.25], 3: [11 / 3, 3.0, 2.0]}
PLACE = ("epoch", "batch")


@pytest.fixture
def board(tmp_path):
    with closing(Board(tmp_path)) as board:
        yield board


def seed_loader(batch_size, **options):
    return DataLoader(TensorDataset(torch.tensor(SEED_ITEMS)), batch_size=batch_size, **options)


class Absolute(nn.Module):
    """A model whose L1 loss against 0 is the item itself, with a parameter that never moves."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.scale * x


def loss_of(loss_func, model, x):
    return loss_func(model(x), torch.zeros_like(x))


def train(loss_func, loader, model=None, epochs=1):
    """An ordinary loop, at learning rate 0."""
    model = model or Absolute()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    for _epoch in range(epochs):
        for (x,) in loader:
            optimizer.zero_grad()
            loss = loss_of(loss_func, model, x)
            loss.backward()
            optimizer.step()


def validate(loss_func, loader, model=None):
    with torch.no_grad():
        for (x,) in loader:
            loss_of(loss_func, model or Absolute(), x)


def warnings_in(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "lossboard"]


@pytest.mark.parametrize("batch_size", SEED_BATCHES)
def test_the_seeds_eight_items_are_recorded_batch_by_batch(board, batch_size):
    loss, loader = nn.L1Loss(), seed_loader(batch_size)
    run = board.watch(loss, loader)
    train(loss, loader, epochs=2)
    expected = SEED_BATCHES[batch_size]
    assert board.records(run, "loss") == pytest.approx(expected * 2, rel=1e-6)
    assert board.records(run, *PLACE) == [(e, b) for e in range(2) for b in range(len(expected))]
    sizes = [min(batch_size, 8 - batch_size * b) for b in range(len(expected))] * 2
    assert board.records(run, "batch_size", "weight") == [(n, float(n)) for n in sizes]
    assert board.meanings(run) == {"train/loss": ("mean", "items", "exact")}


def test_watching_changes_no_result_and_no_dice():
    def learn(is_watched, folder=None):
        import lossboard

        torch.manual_seed(7)
        net, loss = nn.Linear(4, 3), nn.CrossEntropyLoss(label_smoothing=0.1)
        data = TensorDataset(torch.randn(30, 4), torch.randint(0, 3, (30,)))
        loader = DataLoader(data, batch_size=7, shuffle=True)
        run = lossboard.watch(loss, loader, mode="disabled", strict=True) if is_watched else None
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        seen = []
        for _epoch in range(3):
            for x, y in loader:
                optimizer.zero_grad()
                value = loss(net(x), y)
                value.backward()
                optimizer.step()
                seen.append(value.item())
        if run is not None:
            run.finish()
        return seen, [p.tolist() for p in net.parameters()], torch.rand(3).tolist()

    assert learn(True) == learn(False)


def test_value_is_copied_before_the_loop_changes_it_in_place(board):
    loss, loader, model = nn.L1Loss(), seed_loader(2), Absolute()
    run = board.watch(loss, loader)
    for (x,) in loader:
        value = loss_of(loss, model, x)
        value /= 4
        value.backward()
    assert board.records(run, "loss") == SEED_BATCHES[2]


def test_peek_counts_for_nothing(board):
    loss, loader = nn.L1Loss(), seed_loader(4)
    run = board.watch(loss, loader)
    next(iter(loader))
    train(loss, loader)
    assert board.records(run, *PLACE) == [(0, 0), (0, 1)]


def test_validation_over_the_training_loader_is_a_pass_of_its_epoch(board):
    loss, loader = nn.L1Loss(), seed_loader(4)
    run = board.watch(loss, loader)
    for _epoch in range(2):
        train(loss, loader)
        validate(loss, loader)
    assert board.records(run, *PLACE, series="train/loss") == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert board.records(run, "epoch", "pass_no", "batch", "loss", series="val/loss") == [
        (0, 0, 0, 3.75),
        (0, 0, 1, 2.25),
        (1, 0, 0, 3.75),
        (1, 0, 1, 2.25),
    ]


def test_validations_in_mid_epoch_are_passes_of_their_own(board):
    loss, loader, model = nn.L1Loss(), seed_loader(4), Absolute()
    run = board.watch(loss, loader)
    for (x,) in loader:
        loss_of(loss, model, x).backward()
        validate(loss, loader)
    assert board.records(run, *PLACE, series="train/loss") == [(0, 0), (0, 1)]
    assert board.records(run, "epoch", "pass_no", "batch", series="val/loss") == [
        (0, 0, 0),
        (0, 0, 1),
        (0, 1, 0),
        (0, 1, 1),
    ]


def test_validation_before_training_stands_at_the_start(board):
    loss, loader = nn.L1Loss(), seed_loader(4)
    run = board.watch(loss, loader, start_epoch=3, run="resumed", resume=True)
    with torch.inference_mode():
        loss(torch.ones(2), torch.zeros(2))
    train(loss, loader)
    assert board.records(run, "series", *PLACE) == [
        ("val/loss", 3, 0),
        ("train/loss", 3, 0),
        ("train/loss", 3, 1),
    ]


def test_loader_prepared_by_accelerate_tells_epochs_and_batch_sizes(board):
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    model, loss = Absolute(), nn.L1Loss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    model, optimizer, loader = accelerator.prepare(model, optimizer, seed_loader(3))
    run = board.watch(loss, loader)
    for _epoch in range(2):
        for (x,) in loader:
            with accelerator.accumulate(model):
                accelerator.backward(loss_of(loss, model, x))
                optimizer.step()
                optimizer.zero_grad()
    assert board.records(run, *PLACE, "batch_size") == [
        (e, b, n) for e in range(2) for b, n in enumerate((3, 3, 2))
    ]
    assert board.records(run, "loss") == pytest.approx(SEED_BATCHES[3] * 2, rel=1e-6)


def test_generator_of_batches_takes_its_epochs_from_the_run(board):
    loss, batches = nn.L1Loss(), list(seed_loader(4))
    run = board.watch(loss, (batch for batch in batches))
    for _epoch in run.epochs(2):
        train(loss, (batch for batch in batches))
        validate(loss, batches)
    assert board.records(run, *PLACE, series="train/loss") == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert board.records(run, *PLACE, series="val/loss") == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_epoch_set_by_the_loop_wins_over_the_loader(board):
    loss, loader = nn.L1Loss(), seed_loader(4)
    run = board.watch(loss, loader)
    for epoch in (5, 6):
        run.epoch = epoch
        train(loss, loader)
    assert board.records(run, *PLACE) == [(5, 0), (5, 1), (6, 0), (6, 1)]


def test_without_a_loader_one_warning_names_the_remedy(board, caplog):
    loss = nn.L1Loss()
    run = board.watch(loss)
    with caplog.at_level(logging.WARNING, "lossboard"):
        train(loss, seed_loader(4), epochs=2)
    assert board.records(run, *PLACE) == [(-1, 0), (-1, 1), (-1, 2), (-1, 3)]
    (warning,) = warnings_in(caplog)
    assert "lossboard.watch(loss_func, loader)" in warning
    assert "run.epochs(n)" in warning
    assert "run.epoch = epoch" in warning


def test_two_losses_of_one_step_stay_aligned(board):
    loader, model = seed_loader(4), Absolute()
    box, sharp = nn.L1Loss(), nn.MSELoss(reduction="sum")
    run = board.watch(box, loader, series="box")
    board.watch(sharp, loader, series="sharp", run=run)
    for _epoch in range(2):
        for (x,) in loader:
            (loss_of(box, model, x) + loss_of(sharp, model, x)).backward()
    places = [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert board.records(run, *PLACE, series="train/box") == places
    assert board.records(run, *PLACE, series="train/sharp") == places
    assert board.records(run, "loss", "weight", series="train/sharp")[:2] == [(61.0, 4.0), (23.0, 4.0)]
    assert board.meanings(run)["train/sharp"] == ("sum", "items", "exact")
    run.finish()
    assert type(loader) is DataLoader
    assert not box._forward_hooks
    assert not sharp._forward_hooks


def test_two_runs_after_each_other_do_not_hear_each_other(board):
    loss, loader = nn.L1Loss(), seed_loader(4)
    first = board.watch(loss, loader, name="first")
    train(loss, loader)
    first.finish()
    assert not loss._forward_hooks
    assert type(loader) is DataLoader
    second = board.watch(loss, loader, name="second")
    train(loss, loader)
    for run in (first, second):
        assert board.records(run, *PLACE) == [(0, 0), (0, 1)]


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
    loader, model = seed_loader(4), Absolute()
    run = board.watch(nn.functional.l1_loss, loader)
    assert run.loss.__name__ == "l1_loss"
    for (x,) in loader:
        run.loss(model(x), torch.zeros_like(x)).backward()
    assert board.records(run, *PLACE, "loss", "batch_size") == [(0, 0, 3.75, 4), (0, 1, 2.25, 4)]
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


def test_loss_with_gradients_on_but_none_needed_is_counted_only(board):
    loss = nn.L1Loss()
    run = board.watch(loss)
    loss(torch.ones(2), torch.zeros(2))
    assert board.records(run, "loss") == []
    assert run._faults.counts() == {"monitoring": 1}


def test_model_in_evaluation_mode_makes_it_validation(board):
    loss, loader, model = nn.L1Loss(), seed_loader(4), Absolute()
    run = board.watch(loss, loader, model=model)
    model.eval()
    train(loss, loader, model)
    model.train()
    train(loss, loader, model)
    assert board.records(run, "series", *PLACE) == [
        ("val/loss", 0, 0),
        ("val/loss", 0, 1),
        ("train/loss", 0, 0),
        ("train/loss", 0, 1),
    ]


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


class Talkative(nn.Module):
    """Returns what is no tensor."""

    def forward(self, x):
        return {"loss": x.sum()}


def test_output_that_is_no_tensor_is_warned_about_once_and_counted(board, caplog):
    loss = Talkative()
    run = board.watch(loss)
    with caplog.at_level(logging.WARNING, "lossboard"):
        assert loss(torch.ones(2))["loss"] == 2
        loss(torch.ones(2))
    assert run._faults.counts() == {"not-a-tensor": 2}
    (warning,) = warnings_in(caplog)
    assert "dict" in warning


def test_fault_in_the_hook_never_reaches_training_unless_strict(board, caplog):
    def broken(*_operands):
        raise RuntimeError("no such weight")

    loss = nn.L1Loss()
    run = board.watch(loss, weight=broken, strict=False)
    with caplog.at_level(logging.WARNING, "lossboard"):
        assert loss(torch.ones(2, requires_grad=True), torch.zeros(2)) == 1
    assert run._faults.counts() == {"internal-fault": 1}
    run.finish()
    strict = board.watch(loss, weight=broken)
    with pytest.raises(RuntimeError, match="no such weight"):
        loss(torch.ones(2, requires_grad=True), torch.zeros(2))
    strict.finish()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss))])
def test_copy_of_a_watched_loss_is_not_watched(board, duplicate):
    loss = nn.L1Loss()
    run = board.watch(loss)
    again = duplicate(loss)
    assert again(torch.ones(2, requires_grad=True), torch.zeros(2)) == 1
    assert board.records(run, "loss") == []


def test_pickle_of_a_watched_loss_does_not_need_lossboard(board):
    loss = nn.L1Loss()
    board.watch(loss)
    assert b"lossboard" not in pickle.dumps(loss)


class Squared(torch.autograd.Function):
    """Tells when its node of the graph is gone: an object that only the node holds is gone too."""

    class Witness:
        pass

    @staticmethod
    def forward(context, x):
        context.witness = Squared.Witness()
        Squared.seen = weakref.ref(context.witness)
        return x * x

    @staticmethod
    def backward(context, gradient):
        return gradient


def test_graph_is_never_kept(board):
    loss = nn.L1Loss()
    board.watch(loss, seed_loader(4))
    output = loss(Squared.apply(torch.ones(4, requires_grad=True)), torch.zeros(4))
    assert Squared.seen() is not None
    del output
    assert Squared.seen() is None


def test_loader_iterated_without_a_loss_names_the_fix_once(board, caplog):
    loss, loader = nn.L1Loss(), seed_loader(4)
    run = board.watch(loss, loader)
    with caplog.at_level(logging.WARNING, "lossboard"):
        for _epoch in range(5):
            train(nn.L1Loss(), loader)
        run.finish()
    (warning,) = warnings_in(caplog)
    assert "before the first compiled call" in warning


@pytest.mark.parametrize(
    ("arguments", "options"), [((3,), {}), ((nn.L1Loss(),), {"weight": -1}), ((nn.L1Loss(),), {"series": ""})]
)
def test_what_cannot_be_watched_is_refused_where_the_run_is_made(board, arguments, options):
    with pytest.raises((TypeError, ValueError)):
        board.watch(*arguments, **options)
