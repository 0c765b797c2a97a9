"""AMP's scale is told apart from the losses' own factors, and the steps that it leaves out are counted."""

import pytest
import torch
from torch import nn

from loops import Absolute, loss_of, seed_loader


def train_scaled(loader, objective, micro=1, bad=(), steps=16):
    """Train with AMP's scaler; the steps in `bad` overflow in the model's gradient and are left out."""
    model = Absolute()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    scaler = torch.amp.GradScaler("cpu")
    skipped = at = 0
    while at < steps * micro:
        for (x,) in loader:
            scaler.scale(objective(model, x) / micro).backward()
            at += 1
            if at % micro == 0:
                if at // micro - 1 in bad:
                    model.scale.grad.fill_(float("inf"))
                before = scaler.get_scale()
                scaler.step(optimizer)
                scaler.update()
                skipped += scaler.get_scale() < before
                optimizer.zero_grad()
    return skipped


@pytest.mark.parametrize("micro", [1, 2, 3, 4])
@pytest.mark.parametrize("bad", [(0, 1, 2), (6,)])
def test_steps_that_amp_leaves_out_are_counted_once_from_the_first_on(board, micro, bad):
    loss, loader = nn.L1Loss(), seed_loader(1)
    run = board.watch(loss, loader)
    skipped = train_scaled(loader, lambda model, x: loss_of(loss, model, x), micro, bad)
    assert skipped == len(bad)
    run.finish()
    assert run._faults.counts() == {"skipped-step": skipped}
    # A window of 2 or 4 can't be told from AMP's scale, which is a power of 2 too.
    assert run._outlet.traits["train/loss"].get("divided_by") == (3.0 if micro == 3 else None)


def test_loss_that_overflows_itself_counts_one_step_for_all_its_batches(board):
    loss, loader = nn.L1Loss(), seed_loader(1)
    run = board.watch(loss, loader)
    seen = []

    def objective(model, x):
        seen.append(x)
        overflow = float("inf") if 60 < len(seen) <= 63 else 1.0
        return loss_of(loss, model, x) * overflow

    assert train_scaled(loader, objective, 3, steps=32) == 1
    run.finish()
    assert run._faults.counts() == {"skipped-step": 1}


@pytest.mark.parametrize("micro", [1, 2, 3])
@pytest.mark.parametrize("bad", [(), (1, 2, 3)])
def test_factors_of_parts_are_those_before_amps_scale(board, micro, bad):
    loader = seed_loader(2)

    def loss(prediction):
        box, sharp = prediction.mean(), prediction.square().mean()
        return {"loss": box + 0.5 * sharp, "box": box, "cls": sharp}

    run = board.watch(loss, loader)
    skipped = train_scaled(loader, lambda model, x: run.loss(model(x))["loss"], micro, bad)
    run.finish()
    traits = run._outlet.traits["train/loss"]
    assert traits["parts"] == pytest.approx({"train/box": 1.0, "train/cls": 0.5})
    assert "parts_gap" not in traits
    assert run._faults.counts().get("skipped-step", 0) == skipped == len(bad)


def test_two_losses_of_one_sum_are_told_by_their_own_factors(board):
    one, two, loader = nn.L1Loss(), nn.MSELoss(), seed_loader(2)
    run = board.watch(one, loader)
    board.watch(two, loader, run=run, series="two")
    train_scaled(loader, lambda model, x: loss_of(one, model, x) + 0.1 * loss_of(two, model, x))
    assert "divided_by" not in run._outlet.traits["train/loss"]
    assert run._outlet.traits["train/two"]["divided_by"] == pytest.approx(10)


def test_criterion_that_has_two_factors_in_turn_skips_no_step(board):
    loss, loader, critic, maker = nn.L1Loss(), seed_loader(1), Absolute(), Absolute()
    run = board.watch(loss, loader)
    scaler = torch.amp.GradScaler("cpu")
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.0) for model in (critic, maker)]
    for _epoch in range(4):
        for (x,) in loader:
            both = loss_of(loss, critic, x) + loss_of(loss, critic, -x)
            for objective, optimizer in zip((both / 2, loss_of(loss, maker, x)), optimizers, strict=True):
                scaler.scale(objective).backward()
                scaler.step(optimizer)
                scaler.update()
    run.finish()
    assert run._faults.counts() == {}


class Far(torch.Tensor):
    """A tensor that says it is on no host, and whose gradients say so too."""

    is_cpu = property(lambda self: False)

    def register_hook(self, hook):
        return super().register_hook(lambda gradient: hook(gradient.as_subclass(Far)))


class FarLoss(nn.Module):
    def forward(self, prediction):
        return prediction.mean().as_subclass(Far)


def test_factor_is_found_where_gradients_come_late_from_a_device(board):
    loss, loader, model = FarLoss(), seed_loader(2), Absolute()
    run = board.watch(loss, loader)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    for _epoch in range(100):  # their numbers travel once in 256 calls or a second
        for batch, (x,) in enumerate(loader):
            (loss(model(x)) / 2).backward()
            if batch % 2:
                optimizer.step()
    run.finish()
    assert len(board.records(run, "loss")) == 400
    assert run._outlet.traits["train/loss"]["divided_by"] == 2.0
