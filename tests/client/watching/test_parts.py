"""A loss of several named values: each has its series, and their sum is held against the total."""

import logging

import pytest
import torch
from torch import nn

import lossboard
from loops import Absolute, seed_loader, warnings_in


def learn(loss, loader, choose, epochs=2):
    model = Absolute()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    for _epoch in range(epochs):
        for (x,) in loader:
            optimizer.zero_grad()
            choose(loss(model(x))).backward()
            optimizer.step()


def detection(prediction):
    """As torchvision's detectors answer: parts, and the script adds them up."""
    return {"box": prediction.mean(), "cls": prediction.square().mean()}


def with_total(factor, extra=0.0):
    def loss(prediction):
        box, sharp = prediction.mean(), prediction.square().mean()
        return {"loss": box + factor * sharp + extra * prediction.mean(), "box": box, "cls": sharp}

    return loss


def test_each_part_is_a_series_and_its_factor_is_found(board):
    loader = seed_loader(4)
    run = board.watch(detection, loader)
    learn(run.loss, loader, lambda parts: parts["box"] + 0.5 * parts["cls"])
    assert board.records(run, "loss", series="train/box") == [3.75, 2.25] * 2
    assert board.records(run, "loss", series="train/cls") == [15.25, 5.75] * 2
    assert board.records(run, "epoch", "batch", series="train/cls") == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert run._outlet.traits["train/box"]["parts"] == {"train/box": 1.0, "train/cls": 0.5}


def test_total_that_is_the_sum_of_its_parts_raises_no_question(board, caplog):
    loader, loss = seed_loader(4), with_total(0.5)
    run = board.watch(loss, loader)
    with caplog.at_level(logging.WARNING, "lossboard"):
        learn(run.loss, loader, lambda parts: parts["loss"], epochs=4)
    traits = run._outlet.traits["train/loss"]
    assert traits["parts"] == {"train/box": 1.0, "train/cls": 0.5}
    assert "parts_gap" not in traits
    assert not [warning for warning in warnings_in(caplog) if "something else" in warning]
    assert board.records(run, "loss", series="train/loss")[:2] == [3.75 + 7.625, 2.25 + 2.875]


def test_total_with_something_else_in_it_is_told_once(board, caplog):
    loader = seed_loader(4)

    def loss(prediction):
        box = prediction.mean()
        return {"total": box + 1.0, "box": box}

    run = board.watch(loss, loader)
    with caplog.at_level(logging.WARNING, "lossboard"):
        learn(run.loss, loader, lambda parts: parts["total"], epochs=4)
    assert run._outlet.traits["train/loss"]["parts_gap"] == pytest.approx(1 / 3.25)
    assert len([warning for warning in warnings_in(caplog) if "something else" in warning]) == 1


@pytest.mark.parametrize("micro", [2, 3])
def test_factors_of_parts_are_those_before_accumulation_divides(board, caplog, micro):
    loader, loss = seed_loader(1), with_total(0.5)
    run = board.watch(loss, loader)
    model = Absolute()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with caplog.at_level(logging.WARNING, "lossboard"):
        for batch, (x,) in enumerate([batch for _ in range(3) for batch in loader]):
            (run.loss(model(x))["loss"] / micro).backward()
            if (batch + 1) % micro == 0:
                optimizer.step()
    assert run._outlet.traits["train/loss"]["parts"] == pytest.approx({"train/box": 1.0, "train/cls": 0.5})
    assert not [warning for warning in warnings_in(caplog) if "something else" in warning]


def test_factor_that_is_warmed_up_is_no_gap(board, caplog):
    loader, model = seed_loader(1), Absolute()
    seen = []

    def loss(prediction):
        seen.append(prediction)
        box, sharp = prediction.mean(), prediction.square().mean()
        return {"loss": box + (len(seen) - 1) / 100 * sharp, "box": box, "kl": sharp}

    run = board.watch(loss, loader, weight=dict.fromkeys(("loss", "box", "kl"), 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with caplog.at_level(logging.WARNING, "lossboard"):
        for _epoch in range(5):
            for (x,) in loader:
                run.loss(model(x))["loss"].backward()
                optimizer.step()
    assert not [warning for warning in warnings_in(caplog) if "something else" in warning]
    assert "parts_gap" not in run._outlet.traits["train/loss"]
    assert run._outlet.traits["train/loss"]["parts"]["train/kl"] > 0.2


def test_loss_beside_its_total_is_a_part_with_a_series_of_its_own(board):
    loader = seed_loader(4)

    def loss(prediction):
        box = prediction.mean()
        return {"loss": box, "total_loss": 2.0 * box}

    run = board.watch(loss, loader)
    learn(run.loss, loader, lambda parts: parts["total_loss"], epochs=1)
    assert board.records(run, "loss", series="train/loss") == [7.5, 4.5]
    assert board.records(run, "loss", series="train/loss.loss") == [3.75, 2.25]


def test_part_whose_name_no_series_may_have_costs_itself_only(board, caplog):
    loader = seed_loader(4)
    run = board.watch(
        lambda prediction: {"box": prediction.mean(), "": prediction.sum()}, loader, strict=False
    )
    with caplog.at_level(logging.WARNING, "lossboard"):
        learn(run.loss, loader, lambda parts: parts["box"], epochs=1)
    assert board.records(run, "series") == ["train/box"] * 2
    assert run._faults.counts() == {"refused-by-client": 2}


def test_weight_of_a_part_that_never_comes_is_told_at_the_end(board, caplog):
    loader = seed_loader(4)
    run = board.watch(detection, loader, weight={"bax": 8})
    learn(run.loss, loader, lambda parts: parts["box"], epochs=1)
    with caplog.at_level(logging.WARNING, "lossboard"):
        run.finish()
    assert "weight= names bax" in warnings_in(caplog)[-1]


def test_parts_may_have_weights_of_their_own(board):
    loader = seed_loader(4)
    run = board.watch(detection, loader, weight={"box": 8, "cls": lambda prediction: prediction.sum()})
    learn(run.loss, loader, lambda parts: parts["box"] + parts["cls"], epochs=1)
    assert board.records(run, "weight", series="train/box") == [8.0, 8.0]
    assert board.records(run, "weight", series="train/cls") == [15.0, 9.0]
    assert board.meanings(run)["train/cls"] == ("mean", "items", "declared")


def test_parts_without_gradients_are_a_validation_pass(board):
    loader = seed_loader(4)
    run = board.watch(detection, loader)
    with torch.no_grad():
        for (x,) in loader:
            run.loss(x)
    assert board.records(run, "loss", "pass_no", series="val/box") == [(3.75, 0), (2.25, 0)]


class Model(nn.Module):
    """A module that computes its losses itself and returns them by name, beside what is none."""

    def __init__(self):
        super().__init__()
        self.inner = Absolute()

    def forward(self, x):
        y = self.inner(x)
        return {"loss_box": y.mean(), "answers": y, "text": "none"}


def test_module_that_returns_a_mapping_is_hooked_and_what_is_no_loss_left_out(board):
    model, loader = Model(), seed_loader(4)
    run = board.watch(model, loader)
    for (x,) in loader:
        model(x)["loss_box"].backward()
    assert board.records(run, "loss", series="train/loss_box") == [3.75, 2.25]
    assert board.meanings(run) == {"train/loss_box": ("mean", "items", "assumed")}


def test_evaluation_takes_the_total_whatever_it_is_called(board):
    loader = seed_loader(3)

    def loss(prediction, target):
        distance = (prediction - target).abs().double().mean()
        return {"loss": 0.5 * distance, "total": distance}

    run = board.watch(loss, loader, weight={"total": lambda prediction, _target: len(prediction)})
    pairs = [(x, torch.zeros_like(x)) for (x,) in loader]
    assert lossboard.evaluate(Absolute(), run.loss, pairs) == 3.0
    assert board.meanings(run)["eval/loss"] == ("mean", "items", "declared")
