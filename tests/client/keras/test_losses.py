"""What a Keras loss was divided by: exact where that can be seen, and labelled assumed where not."""

import logging

import numpy as np
import pytest

from keras_models import ARRAY_WARNING, ITEMS, SEED_BATCHES, ZEROS, absolute, build, fit, pooled
from loops import warnings_in

pytestmark = pytest.mark.filterwarnings(ARRAY_WARNING)
# The oracle's keras_sample_weight_sum_over_batch_size: Σ w = 9.5, Σ w·l = 21.5, one weight is 0.
WEIGHTS = np.array([1.0, 0.0, 2.0, 1.0, 0.5, 1.0, 1.0, 3.0], dtype="float32")


def test_sample_weights_scale_the_values_and_not_the_denominator(keras, board, callback):
    lost = callback()
    history = fit(build(keras), lost, sample_weight=WEIGHTS)
    records = board.records(lost.run, "loss", "weight")
    assert records == [(pytest.approx(8 / 3), 3.0), (2.5, 3.0), (3.0, 2.0)]
    assert pooled(records) == pytest.approx(2.6875)
    assert history.history["loss"] == pytest.approx([2.6875])
    assert board.meanings(lost.run) == {"train/loss": ("mean", "items", "exact")}


def test_mean_with_sample_weight_is_recorded_with_the_sum_of_the_weights(keras, board, callback):
    class Absolute(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return absolute(y_true, y_pred)

    lost = callback()
    history = fit(build(keras, Absolute(reduction="mean_with_sample_weight")), lost, sample_weight=WEIGHTS)
    records = board.records(lost.run, "loss", "weight")
    assert records == [(pytest.approx(8 / 3), 3.0), (3.0, 2.5), (1.5, 4.0)]
    assert pooled(records) == pytest.approx(43 / 19)
    assert history.history["loss"] == pytest.approx([2.5])
    assert board.meanings(lost.run) == {"train/loss": ("mean", "class_weight", "exact")}


def test_sum_is_recorded_as_a_sum(keras, board, callback):
    lost = callback()
    history = fit(build(keras, keras.losses.MeanAbsoluteError(reduction="sum")), lost)
    assert board.records(lost.run, "loss", "weight") == [(11.0, 3.0), (9.0, 3.0), (4.0, 2.0)]
    assert board.meanings(lost.run) == {"train/loss": ("sum", "items", "exact")}
    assert history.history["loss"] == pytest.approx([8.5])


def test_masked_tokens_do_not_count(keras, board, callback):
    tokens = np.array([[4, 5, 2, 4, 3], [2, 3, 0, 0, 0]])
    inputs = keras.Input((5,))
    embedding = keras.layers.Embedding(6, 1, mask_zero=True)
    model = keras.Model(inputs, embedding(inputs))
    embedding.set_weights([np.arange(6, dtype="float32")[:, None]])
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss=absolute)
    lost = callback()
    options = {"batch_size": 1, "shuffle": False, "verbose": 0}
    history = model.fit(tokens, np.zeros((2, 5, 1)), callbacks=[lost], **options)
    records = board.records(lost.run, "loss", "weight")
    assert records == [(pytest.approx(3.6), 5.0), (2.5, 2.0)]
    assert pooled(records) == pytest.approx(23 / 7)
    assert history.history["loss"] == pytest.approx([3.05])
    assert board.meanings(lost.run) == {"train/loss": ("mean", "tokens", "exact")}


@pytest.mark.parametrize("ignored", [None, 2])
def test_pooled_tokens_are_the_loss_of_all_the_data(keras, board, callback, ignored):
    random = np.random.default_rng(5)
    probabilities = random.dirichlet(np.ones(3), size=(7, 4)).astype("float32")
    targets = random.integers(0, 3, size=(7, 4))
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, keras.layers.Rescaling(1.0)(inputs))
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=ignored)
    model.compile(loss=loss)
    lost = callback()
    model.evaluate(probabilities, targets, batch_size=3, verbose=0, callbacks=[lost])
    records = board.records(lost.run, "loss", "weight")
    counted = targets != ignored
    assert sum(weight for _, weight in records) == counted.sum()
    chosen = np.take_along_axis(probabilities, targets[..., None], axis=-1)[..., 0]
    assert pooled(records) == pytest.approx(-np.log(chosen[counted]).mean(), rel=1e-5)
    assert board.meanings(lost.run) == {"eval/loss": ("mean", "tokens", "exact")}


def test_sum_of_several_losses_is_labelled_assumed(keras, board, callback):
    inputs = keras.Input((1,))
    layers = {name: keras.layers.Dense(1, kernel_initializer="ones", name=name) for name in "ab"}
    model = keras.Model(inputs, [layer(inputs) for layer in layers.values()])
    model.compile(optimizer=keras.optimizers.SGD(0.0), loss=["mae", "mse"], loss_weights=[1.0, 0.5])
    lost = callback()
    options = {"batch_size": 3, "shuffle": False, "verbose": 0}
    model.fit(ITEMS, [ZEROS, ZEROS], callbacks=[lost], **options)
    records = board.records(lost.run, "loss", "batch_size", "weight")
    assert records == [(pytest.approx(67 / 6), 3, None), (pytest.approx(47 / 6), 3, None), (4.5, 2, None)]
    assert board.meanings(lost.run) == {"train/loss": ("mean", "items", "assumed")}


def test_loss_with_a_regulariser_in_it_is_labelled_assumed(keras, board, callback):
    lost = callback()
    fit(build(keras, regularizer=keras.regularizers.L2(0.5)), lost)
    assert board.records(lost.run, "loss") == pytest.approx([11 / 3 + 0.5, 3.5, 2.5])
    assert board.meanings(lost.run) == {"train/loss": ("mean", "items", "assumed")}


@pytest.mark.parametrize("kind", ["own compute_loss", "reduces itself", "own call"])
def test_what_a_script_computes_itself_is_labelled_assumed(keras, board, callback, kind):
    class Own(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return abs(y_pred - y).mean()

    class Called(keras.losses.Loss):
        def __call__(self, y_true, y_pred, sample_weight=None):
            return abs(y_pred - y_true).mean()

        call = None

    if kind == "own compute_loss":
        plain = build(keras)
        model = Own(plain.inputs, plain.outputs)
        model.compile(optimizer=keras.optimizers.SGD(0.0), loss="mse")
    else:
        model = build(keras, Called() if kind == "own call" else lambda y, p: abs(p - y).mean())
    lost = callback()
    fit(model, lost)
    assert board.records(lost.run, "loss") == pytest.approx(SEED_BATCHES[3])
    assert board.records(lost.run, "batch_size", "weight") == [(3, None), (3, None), (2, None)]
    assert board.meanings(lost.run) == {"train/loss": ("mean", "items", "assumed")}


def test_loss_that_is_not_reduced_is_told_once(keras, board, callback, caplog):
    lost, model = callback(), build(keras, keras.losses.MeanAbsoluteError(reduction=None))
    with caplog.at_level(logging.WARNING, "lossboard"):
        model.evaluate(ITEMS, ZEROS, batch_size=4, verbose=0, callbacks=[lost])
    assert lost.run._faults.counts() == {"not-a-scalar": 2}
    (warning,) = warnings_in(caplog)
    assert "reduction" in warning
