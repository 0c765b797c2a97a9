"""Epochs, batches and passes by the rules of training loops, without torch."""

import pytest

from lossboard.watching.position import UNDECLARED, Position


class Pass:
    """An iterator of a loader, as far as a Position looks at it: something that lives or is gone."""


def train(position, n, series="train/loss"):
    return [position.train_record(series) for _ in range(n)]


def test_iteration_only_arms_and_the_epoch_begins_with_the_next_training_record():
    position = Position()
    position.arm()
    assert not position.is_declared
    assert train(position, 2) == [(0, 0), (0, 1)]
    position.arm()
    assert position.epoch == 0
    assert train(position, 2) == [(1, 0), (1, 1)]


def test_peek_before_training_counts_for_nothing():
    position = Position()
    position.arm()
    position.arm()
    assert train(position, 1) == [(0, 0)]


def test_validation_over_the_same_loader_begins_no_epoch():
    position = Position()
    position.arm()
    train(position, 2)
    position.arm()
    assert [position.val_record() for _ in range(2)] == [(0, 0, 0), (0, 0, 1)]
    position.arm()
    assert train(position, 1) == [(1, 0)]


def test_evaluation_over_the_training_loader_in_mid_epoch_leaves_the_epoch_as_it_was():
    position = Position()
    epoch_iterator = Pass()
    position.arm(epoch_iterator)
    train(position, 2)
    evaluation = Pass()
    position.arm(evaluation)
    assert position.val_record() == (0, 0, 0)
    del evaluation
    assert train(position, 1) == [(0, 2)]
    position.arm(epoch_iterator)
    assert train(position, 1) == [(1, 0)]


def test_new_pass_begins_an_epoch_although_the_old_iterator_is_still_held():
    position = Position()
    held, newer = Pass(), Pass()
    position.arm(held)
    train(position, 1)
    position.arm(newer)
    assert train(position, 1) == [(1, 0)]
    assert held is not newer


def test_iterator_without_weak_references_counts_as_an_epoch():
    position = Position()
    for epoch in range(2):
        position.arm(iter([1]))
        assert train(position, 1) == [(epoch, 0)]


def test_training_without_any_sign_of_epochs_is_undeclared():
    position = Position()
    assert train(position, 2) == [(UNDECLARED, 0), (UNDECLARED, 1)]
    assert not position.is_declared
    assert position.val_record() == (UNDECLARED, 0, 0)


def test_epoch_told_late_starts_its_batches_anew():
    position = Position()
    train(position, 3)
    position.set_epoch(0)
    assert train(position, 1) == [(0, 0)]


def test_epoch_set_by_hand_wins_over_the_loader():
    position = Position()
    for epoch in (4, 5):
        position.set_epoch(epoch)
        position.arm()
        assert train(position, 2) == [(epoch, 0), (epoch, 1)]
        position.arm()
        assert train(position, 1) == [(epoch, 2)]


def test_setting_the_current_epoch_again_changes_nothing():
    position = Position()
    for batch in range(3):
        position.set_epoch(0)
        assert train(position, 1) == [(0, batch)]


@pytest.mark.parametrize("epoch", [-1, 1.0, True, "1", None])
def test_epoch_that_is_no_whole_number_is_refused(epoch):
    with pytest.raises(ValueError, match="whole number"):
        Position().set_epoch(epoch)


def test_each_stretch_without_gradients_is_a_pass_of_its_epoch():
    position = Position()
    position.arm()
    train(position, 1)
    assert [position.val_record() for _ in range(2)] == [(0, 0, 0), (0, 0, 1)]
    train(position, 1)
    assert position.val_record() == (0, 1, 0)
    position.arm()
    train(position, 1)
    assert position.val_record() == (1, 0, 0)


def test_validation_before_training_belongs_to_the_epoch_of_the_start():
    position = Position(3)
    position.is_observed = True
    assert position.val_record() == (3, 0, 0)
    position.arm()
    assert train(position, 1) == [(3, 0)]
    assert position.val_record() == (3, 1, 0)


def test_two_series_share_the_epoch_and_count_their_own_batches():
    position = Position()
    for epoch in range(2):
        position.arm()
        for batch in range(3):
            assert position.train_record("train/box") == (epoch, batch)
            assert position.train_record("train/class") == (epoch, batch)
        assert position.val_record("val/box") == (epoch, 0, 0)
        assert position.val_record("val/class") == (epoch, 0, 0)


def test_start_epoch_is_the_first_epoch():
    position = Position(7)
    position.arm()
    assert train(position, 2) == [(7, 0), (7, 1)]
    position.arm()
    assert train(position, 1) == [(8, 0)]


def test_listeners_hear_of_a_change_before_it_happens():
    position = Position()
    heard = []
    position.before_change.append(lambda: heard.append(position.epoch))
    position.set_epoch(0)
    position.set_epoch(1)
    position.arm()
    position.finish()
    assert heard == [UNDECLARED, 0, 1, 1]


def test_training_long_after_its_iteration_ended_is_noticed():
    position = Position()
    for _ in range(2):
        iterator = Pass()
        position.arm(iterator)
        for _ in range(3):
            position.train_record()
        del iterator
        for _ in range(2):  # what gradient accumulation has left over
            position.train_record()
        assert not position.is_forsaken
    position.train_record()
    assert position.is_forsaken


def test_epoch_whose_batches_were_all_fetched_first_is_not_forsaken():
    position = Position()
    position.arm(Pass())
    for _ in range(5):
        position.train_record()
    assert not position.is_forsaken
