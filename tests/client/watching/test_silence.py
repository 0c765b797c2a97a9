"""A watched loss that gives no training record is told once, with the remedy."""

import logging

from torch import nn

from loops import seed_loader, train, validate, warnings_in


def test_loader_iterated_without_a_loss_names_the_fix_once(board, caplog):
    loss, loader = nn.L1Loss(), seed_loader(4)
    run = board.watch(loss, loader)
    with caplog.at_level(logging.WARNING, "lossboard"):
        for _epoch in range(5):
            train(nn.L1Loss(), loader)
        run.finish()
    (warning,) = warnings_in(caplog)
    assert "before the first compiled call" in warning


def test_training_without_a_loader_and_without_the_loss_is_told_at_the_end(board, caplog):
    loss = nn.L1Loss()
    run = board.watch(loss)
    train(nn.L1Loss(), seed_loader(4))
    with caplog.at_level(logging.WARNING, "lossboard"):
        run.finish()
    (warning,) = warnings_in(caplog)
    assert "2 optimizer steps were made, and the watched loss never called" in warning


def test_validation_alone_is_no_sign_that_training_is_heard(board, caplog):
    heard, loader = nn.L1Loss(), seed_loader(4)
    run = board.watch(heard, loader)
    with caplog.at_level(logging.WARNING, "lossboard"):
        for _epoch in range(3):
            train(nn.L1Loss(), loader)  # as compiled code does that knows no hook
            validate(heard, loader)
        run.finish()
    assert "never called in training" in warnings_in(caplog)[0]
    assert len(warnings_in(caplog)) == 1


def test_loss_watched_for_validation_beside_a_training_loss_is_no_silence(board, caplog):
    loss, held_out, loader = nn.L1Loss(), nn.L1Loss(), seed_loader(4)
    run = board.watch(loss, loader)
    board.watch(held_out, run=run, series="held out")
    with caplog.at_level(logging.WARNING, "lossboard"):
        for _epoch in range(3):
            train(loss, loader)
            validate(held_out, seed_loader(2))
        run.finish()
    assert warnings_in(caplog) == []
