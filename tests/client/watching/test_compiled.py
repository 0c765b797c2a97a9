"""Losses inside torch.compile that give several values or have weights: recorded or told, never silent."""

import logging
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional

from loops import warnings_in

CLASSES, LENGTH = 5, 6


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def step_through(step, sizes=(3, 3, 2, 4)):
    for n in sizes:
        step(torch.ones(n, requires_grad=True)).backward()


def test_several_values_inside_compiled_code_are_told_and_counted(board, caplog):
    run = board.watch(lambda x: {"loss": x.sum(), "part": x.mean()})
    step = torch.compile(lambda x: run.loss(x)["loss"], backend="eager", fullgraph=True)
    run.epoch = 0
    step_through(step)
    with caplog.at_level(logging.WARNING, "lossboard"):
        run.finish()
    assert run._faults.counts() == {"compiled": 4}
    assert "lossboard.watch(torch.compile(model))" in warnings_in(caplog)[0]


@pytest.mark.parametrize("weigh", [lambda *_: 1 / 0, lambda *_: "three"])
def test_weight_that_fails_while_it_is_compiled_never_reaches_the_script(board, caplog, weigh):
    loss = nn.L1Loss()
    run = board.watch(loss, weight=weigh)
    step = torch.compile(lambda x: loss(x, torch.zeros_like(x)), backend="eager", fullgraph=True)
    run.epoch = 0
    step_through(step)
    run.finish()
    assert run._faults.counts() == {"compiled": 4}


def test_weight_that_is_a_length_is_compiled_for_every_length(board):
    loss = nn.L1Loss()
    run = board.watch(loss, weight=lambda x, _zeros: len(x))
    step = torch.compile(lambda x: loss(x, torch.zeros_like(x)), backend="eager", fullgraph=True)
    run.epoch = 0
    step_through(step)
    run.finish()
    assert board.records(run, "weight") == [3.0, 3.0, 2.0, 4.0]


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_compiled_loss_tells_its_dtype(board, kind):
    loss = nn.L1Loss()
    run = board.watch(loss)
    step = torch.compile(loss, backend="eager", fullgraph=True)
    run.epoch = 0
    step(torch.ones(3, dtype=kind, requires_grad=True), torch.zeros(3, dtype=kind)).backward()
    run.finish()
    assert run._outlet.traits["train/loss"]["dtype"] == str(kind).removeprefix("torch.")


class Output(NamedTuple):
    loss: torch.Tensor
    logits: torch.Tensor


class TinyForCausalLM(nn.Module):
    """Computes its own loss, as the language models of transformers do."""

    def __init__(self):
        super().__init__()
        self.config = SimpleNamespace(model_type="tiny")
        self.table = nn.Embedding(CLASSES, CLASSES)

    def forward(self, input_ids, labels, num_items_in_batch=None):
        logits = self.table(input_ids)
        kept = logits[:, :-1].reshape(-1, CLASSES), labels[:, 1:].reshape(-1)
        if num_items_in_batch is None:
            loss = functional.cross_entropy(*kept)
        else:
            loss = functional.cross_entropy(*kept, reduction="sum") / num_items_in_batch
        return Output(loss=loss, logits=logits)


@pytest.mark.parametrize("window", [None, 17])
def test_language_model_within_compiled_code_weighs_its_tokens_by_its_name(board, window):
    model = TinyForCausalLM()
    run = board.watch(model)
    step = torch.compile(lambda **batch: model(**batch).loss, backend="eager", fullgraph=True)
    run.epoch = 0
    for rows in (3, 3, 2):
        labels = torch.arange(rows * LENGTH).reshape(rows, LENGTH) % CLASSES
        labels[0, :3] = -100
        told = {} if window is None else {"num_items_in_batch": window}
        step(input_ids=labels.clamp_min(0), labels=labels, **told).backward()
    run.finish()
    assert board.records(run, "batch_size", "weight", "window_items") == [
        (rows, rows * (LENGTH - 1) - 2.0, window) for rows in (3, 3, 2)
    ]
    reduction = "mean" if window is None else "sum_over_window"
    assert board.meanings(run) == {"train/loss": (reduction, "tokens", "assumed")}


@pytest.mark.parametrize("is_watched_first", [True, False])
def test_language_model_that_is_compiled_itself_is_weighed_exactly(board, is_watched_first):
    model = TinyForCausalLM()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    run = board.watch(model if is_watched_first else compiled)
    run.epoch = 0
    for rows in (3, 2):
        labels = torch.arange(rows * LENGTH).reshape(rows, LENGTH) % CLASSES
        compiled(input_ids=labels, labels=labels).loss.backward()
    assert board.records(run, "weight") == [3.0 * (LENGTH - 1), 2.0 * (LENGTH - 1)]
    assert board.meanings(run) == {"train/loss": ("mean", "tokens", "exact")}
