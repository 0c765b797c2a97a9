"""Real torch loops, watched: each loss becomes the record that it means, and the loop does not notice."""

import copy
import logging
import pickle
import weakref

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from loops import Absolute, loss_of, seed_loader, train, warnings_in

SEED_BATCHES = {2: [4.5, 3.0, 2.5, 2.0], 4: [3.75, 2.25], 3: [11 / 3, 3.0, 2.0]}
PLACE = ("epoch", "batch")


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


def test_watching_changes_no_result_and_no_dice(board):
    def learn(is_watched):
        torch.manual_seed(7)
        net, loss = nn.Linear(4, 3), nn.CrossEntropyLoss(label_smoothing=0.1)
        data = TensorDataset(torch.randn(30, 4), torch.randint(0, 3, (30,)))
        loader = DataLoader(data, batch_size=7, shuffle=True)
        run = board.watch(loss, loader) if is_watched else None
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


class Talkative(nn.Module):
    """Returns what is no tensor."""

    def forward(self, x):
        return x.sum(), "a note"


class Unsure(nn.Module):
    """A model that can't tell whether it trains."""

    @property
    def training(self):
        raise RuntimeError("who knows")

    @training.setter
    def training(self, mode):
        pass


def test_fault_in_the_hook_never_reaches_training_unless_strict(board):
    loss = nn.L1Loss()
    run = board.watch(loss, model=Unsure(), strict=False)
    assert loss(torch.ones(2, requires_grad=True), torch.zeros(2)) == 1
    assert run._faults.counts() == {"internal-fault": 1}
    run.finish()
    strict = board.watch(loss, model=Unsure())
    with pytest.raises(RuntimeError, match="who knows"):
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


@pytest.mark.parametrize(
    ("arguments", "options"), [((3,), {}), ((nn.L1Loss(),), {"weight": -1}), ((nn.L1Loss(),), {"series": ""})]
)
def test_what_cannot_be_watched_is_refused_where_the_run_is_made(board, arguments, options):
    with pytest.raises((TypeError, ValueError)):
        board.watch(*arguments, **options)


def test_output_that_is_no_tensor_is_warned_about_once_and_counted(board, caplog):
    loss = Talkative()
    run = board.watch(loss)
    with caplog.at_level(logging.WARNING, "lossboard"):
        assert loss(torch.ones(2))[0] == 2
        loss(torch.ones(2))
    assert run._faults.counts() == {"not-a-tensor": 2}
    (warning,) = warnings_in(caplog)
    assert "tuple" in warning


@pytest.mark.filterwarnings("ignore:.torch.jit.trace. is deprecated:DeprecationWarning")
@pytest.mark.parametrize("needs_grad", [False, True])
def test_loss_is_traced_by_jit_as_if_nobody_watched(board, needs_grad):
    loss, target = nn.CrossEntropyLoss(), torch.tensor([0, 2])
    board.watch(loss).epoch = 0
    logits = torch.rand(2, 3, requires_grad=True)
    for calls in (0, 12):  # before the first call, and when all else goes the short way
        for _ in range(calls):
            loss(logits, target).backward()
        x = logits.detach().requires_grad_(needs_grad)
        traced = torch.jit.trace(lambda x, y: loss(x, y), (x, target))  # and compared with a second trace
        nodes = {node.kind() for node in traced.graph.nodes()}
        assert nodes == {"prim::Constant", "aten::cross_entropy_loss"}
