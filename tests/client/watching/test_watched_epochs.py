"""Which epoch, batch and pass a watched loop's records get, whatever the loop looks like."""

import logging

import pytest
import torch
from torch import nn

from loops import Absolute, loss_of, seed_loader, train, validate, warnings_in

PLACE = ("epoch", "batch")


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
    assert board.records(run, "loss") == pytest.approx([11 / 3, 3.0, 2.0] * 2, rel=1e-6)


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


def test_loader_that_is_made_anew_for_each_epoch_is_warned_about_once(board, caplog):
    loss, loader = nn.L1Loss(), seed_loader(4)
    board.watch(loss, loader, strict=False)
    for _ in range(3):
        train(loss, loader)
        loader = seed_loader(4)
    (warning,) = warnings_in(caplog)
    assert "run.epochs" in warning


def test_loader_that_was_watched_before_accelerate_took_it_names_the_remedy(board, caplog):
    accelerate = pytest.importorskip("accelerate")
    loss, loader = nn.L1Loss(), seed_loader(4)
    board.watch(loss, loader, strict=False)
    prepared = accelerate.Accelerator(cpu=True).prepare(loader)
    train(loss, prepared)
    (warning,) = warnings_in(caplog)
    assert "after accelerator.prepare" in warning
