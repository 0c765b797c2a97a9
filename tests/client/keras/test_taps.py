"""Hearing a model without its noticing, and reading its loss tracker where nothing can be heard."""

import copy
import logging
import pickle

import numpy as np
import pytest

from keras_models import ARRAY_WARNING, ITEMS, SEED_BATCHES, ZEROS, build, fit
from loops import warnings_in

pytestmark = pytest.mark.filterwarnings(ARRAY_WARNING)


def test_difference_of_the_tracker_stands_in_where_nothing_can_be_heard(keras, board, callback, caplog):
    lost = callback()
    lost._uses_tracker = True  # as on the backends that compile: here beside the values that are known
    model = build(keras)
    with caplog.at_level(logging.WARNING, "lossboard"):
        fit(model, lost, epochs=2, validation_data=(ITEMS, ZEROS))
        assert "compute_loss" not in vars(model)
    for split in ("train", "val"):
        name = f"{split}/loss"
        assert board.records(lost.run, "loss", series=name) == pytest.approx(SEED_BATCHES[3] * 2, rel=1e-6)
        assert (
            board.records(lost.run, "batch_size", "weight", series=name)
            == [(3, None), (3, None), (2, None)] * 2
        )
        assert board.meanings(lost.run)[name] == ("mean", "items", "assumed")
        assert lost.run._outlet.traits[name]["from_running"] is True
    (warning,) = warnings_in(caplog)
    assert "float32" in warning
    assert not lost.async_safe


def test_difference_of_the_tracker_keeps_a_sum_a_sum(keras, board, callback):
    lost = callback()
    lost._uses_tracker = True
    fit(build(keras, keras.losses.MeanAbsoluteError(reduction="sum")), lost)
    assert board.records(lost.run, "loss", "batch_size") == [(11.0, 3), (9.0, 3), (4.0, 2)]
    assert board.meanings(lost.run) == {"train/loss": ("sum", "items", "assumed")}


@pytest.mark.parametrize(("loss", "reduction"), [("mae", "mean"), ("sum", "unknown")])
def test_several_batches_in_one_call_are_told_of_once(keras, board, callback, caplog, loss, reduction):
    class Several(keras.callbacks.Callback):
        """As on the backends that compile several batches into one call; torch's refuses it in `compile`."""

        def on_train_begin(self, logs=None):
            self.model.steps_per_execution = 2

    lost = callback()
    lost._uses_tracker = True
    model = build(keras, keras.losses.MeanAbsoluteError(reduction="sum") if loss == "sum" else loss)
    with caplog.at_level(logging.WARNING, "lossboard"):
        fit(model, lost, Several())
    assert sum("steps_per_execution=2" in warning for warning in warnings_in(caplog)) == 1
    assert board.meanings(lost.run)["train/loss"][0] == reduction
    assert board.records(lost.run, "step") == [None, None, None]


def test_tracker_is_off_by_little_at_first_and_by_more_later(keras, callback):
    from lossboard.keras.taps import Tracker

    model = build(keras)
    tracker, random, errors = Tracker(model), np.random.default_rng(0), []
    for batch in range(1, 3001):
        value = float(np.float32(1.0 + 0.1 * random.standard_normal()))
        model._loss_tracker.update_state(value, sample_weight=32)
        total, count = tracker.difference()
        errors.append(abs(total / count - value) / value)
        assert count == 32
        assert errors[-1] <= 1e-7 * batch
    assert max(errors[:100]) < 1e-5 < max(errors)


def test_recording_changes_no_result(keras, callback):
    def learn(*callbacks):
        keras.utils.set_random_seed(3)
        model = build(keras, "mse", learning_rate=0.01)
        history = fit(model, *callbacks, shuffle=True, epochs=3, validation_data=(ITEMS, ZEROS))
        return history.history, [weight.tolist() for weight in model.get_weights()]

    assert learn(callback()) == learn()


def test_copy_of_a_model_in_a_fit_is_not_heard(keras, board, callback, tmp_path):
    copies = []

    class Copy(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            copies.extend([copy.deepcopy(self.model), pickle.loads(pickle.dumps(self.model))])
            copies.append(copy.deepcopy(vars(self.model)["compute_loss"]).__self__)  # as old versions copy
            self.model.save(tmp_path / "model.keras")

    lost = callback()
    fit(build(keras, "mae"), lost, Copy())
    copies.append(keras.saving.load_model(tmp_path / "model.keras"))
    for model in copies:
        assert "compute_loss" not in vars(model)
        assert model.evaluate(ITEMS, ZEROS, verbose=0) == pytest.approx(3.0)
    assert len(board.records(lost.run, "loss")) == 3


def test_two_callbacks_hear_one_fit(keras, board, callback):
    first, second = callback(name="first"), callback(name="second")
    model = build(keras)
    for _ in range(2):
        fit(model, first, second)
    for lost in (first, second):
        assert board.records(lost.run, "loss", "weight") == [
            (pytest.approx(11 / 3), 3.0), (3.0, 3.0), (2.0, 2.0),
        ]  # fmt: skip
    assert "compute_loss" not in vars(model)
    assert "call" not in vars(model._compile_loss._flat_losses[0].loss)


def test_keras_need_not_wait_for_the_device_because_of_us(keras, callback):
    lost = callback()
    listed = keras.callbacks.CallbackList([lost])
    assert listed._async_train
    assert listed._async_test
    lost._uses_tracker = True
    assert not keras.callbacks.CallbackList([lost])._async_train


def test_fault_never_reaches_fit_unless_strict(keras, board, callback, caplog):
    class Hidden(float):
        """A loss of a custom train step that has nothing of a tensor's."""

        is_meta = False

    def broken(model):
        model.compute_loss = lambda *args, **kwargs: Hidden(2.0)
        model.train_step = lambda data: {"loss": model._compute_loss(*data)}
        return model

    lost = callback(strict=False)
    with caplog.at_level(logging.WARNING, "lossboard"):
        fit(broken(build(keras)), lost)
    assert lost.run._faults.counts() == {"internal-fault": 3}
    (warning,) = warnings_in(caplog)
    assert "training goes on" in warning
    with pytest.raises(AttributeError, match="numel"):
        fit(broken(build(keras)), callback())


def test_train_step_that_computes_no_loss_of_keras_is_told_once(keras, board, callback, caplog):
    class Own(keras.Sequential):
        def train_step(self, data):
            self.zero_grad()
            loss = keras.ops.mean(keras.ops.abs(self(data[0]) - data[1]))
            loss.backward()
            return {"loss": loss}

    heard = callback()
    model = Own([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(0.0))
    with caplog.at_level(logging.WARNING, "lossboard"):
        fit(model, heard, epochs=2)
    assert board.records(heard.run, "loss") == []
    (warning,) = warnings_in(caplog)
    assert "self.compute_loss(x, y, y_pred)" in warning
