"""Keras models whose loss on the seed's eight items is known, for tests of what is recorded of them.

Keras itself is handed in: `tests/client/keras/conftest.py` imports it.
"""

import numpy as np

from loops import SEED_ITEMS

# Keras makes arrays of torch's tensors, whose `__array__` is as numpy 1 wanted it. Where the warning is an
# error, Keras swallows that and goes on with a tensor where it meant a number.
ARRAY_WARNING = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"

SEED_BATCHES = {2: [4.5, 3.0, 2.5, 2.0], 3: [11 / 3, 3.0, 2.0], 4: [3.75, 2.25]}
ITEMS = np.array(SEED_ITEMS, dtype="float32")[:, None]
ZEROS = np.zeros_like(ITEMS)


def absolute(y_true, y_pred):
    """|prediction − target|, one value for each element."""
    return abs(y_pred - y_true)


def build(keras, loss=absolute, *, learning_rate=0.0, regularizer=None, **options):
    """A model that answers with its input, at learning rate 0: each item's loss is the item itself."""
    inputs = keras.Input((1,))
    layer = keras.layers.Dense(
        1, use_bias=False, kernel_initializer="ones", kernel_regularizer=regularizer, name="same"
    )
    model = keras.Model(inputs, layer(inputs))
    model.compile(optimizer=keras.optimizers.SGD(learning_rate), loss=loss, **options)
    return model


def fit(model, *callbacks, batch_size=3, **options):
    options = {"shuffle": False, "verbose": 0} | options
    return model.fit(ITEMS, ZEROS, batch_size=batch_size, callbacks=list(callbacks), **options)


def pooled(records):
    """Σ weight × value ÷ Σ weight of (value, weight) pairs."""
    return sum(value * weight for value, weight in records) / sum(weight for _, weight in records)
