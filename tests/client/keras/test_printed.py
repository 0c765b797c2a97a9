"""The numbers that Keras prints, by version, beside the batches that are recorded."""

import re

import pytest

from keras_models import ARRAY_WARNING, ITEMS, SEED_BATCHES, ZEROS, build, fit

pytestmark = pytest.mark.filterwarnings(ARRAY_WARNING)


@pytest.mark.parametrize("batch_size", SEED_BATCHES)
def test_each_batch_is_recorded_with_the_loss_of_its_own(keras, board, callback, batch_size):
    lost = callback()
    history = fit(build(keras), lost, batch_size=batch_size, epochs=2, validation_data=(ITEMS, ZEROS))
    expected = SEED_BATCHES[batch_size]
    sizes = [min(batch_size, 8 - batch_size * b) for b in range(len(expected))]
    for split in ("train", "val"):
        assert board.records(lost.run, "loss", series=f"{split}/loss") == pytest.approx(
            expected * 2, rel=1e-6
        )
        places = board.records(lost.run, "epoch", "batch", "pass_no", series=f"{split}/loss")
        assert places == [(epoch, b, 0) for epoch in range(2) for b in range(len(expected))]
        weights = board.records(lost.run, "batch_size", "weight", series=f"{split}/loss")
        assert weights == [(n, float(n)) for n in sizes] * 2
        assert board.meanings(lost.run)[f"{split}/loss"] == ("mean", "items", "exact")
        assert lost.run._outlet.traits[f"{split}/loss"]["dtype"] == "float32"
    assert history.history["loss"] == pytest.approx([3.0, 3.0])
    steps = board.records(lost.run, "step", series="train/loss")
    assert steps == list(range(2 * len(expected)))


def running_means(version, means, sizes):
    """What Keras has in its logs after each batch."""
    sizes = [1] * len(means) if version < (3, 2) else sizes
    return [
        sum(m * n for m, n in zip(means[:i], sizes, strict=False)) / sum(sizes[:i])
        for i in range(1, len(means) + 1)
    ]


def printed_bar(version, means, sizes):
    """What Keras's progress bar says after each batch, and at last in the epoch's line."""
    running = running_means(version, means, sizes)
    if version >= (3, 15):
        return [*running, running[-1]]
    shown = [sum(running[:i]) / i for i in range(1, len(running) + 1)]
    last = running[-1] if version >= (3, 11) else (sum(running) + running[-1]) / (len(running) + 1)
    return [*shown, last]


def test_formulas_of_the_bar_give_the_specified_numbers():
    means, sizes = SEED_BATCHES[3], [3, 3, 2]
    assert printed_bar((3, 1), means, sizes) == pytest.approx([3.6667, 3.5, 3.2963, 3.1944], abs=5e-5)
    assert printed_bar((3, 10), means, sizes) == pytest.approx([3.6667, 3.5, 3.3333, 3.25], abs=5e-5)
    assert printed_bar((3, 14), means, sizes) == pytest.approx([3.6667, 3.5, 3.3333, 3.0], abs=5e-5)
    assert printed_bar((3, 15), means, sizes) == pytest.approx([3.6667, 3.3333, 3.0, 3.0], abs=5e-5)
    assert running_means((3, 1), means, sizes)[-1] == pytest.approx(26 / 9)


@pytest.mark.parametrize("batch_size", SEED_BATCHES)
def test_keras_prints_a_running_mean_where_the_batch_is_recorded(keras, board, callback, capsys, batch_size):
    class EveryBatch(keras.callbacks.ProgbarLogger):
        """Keras repaints its bar every 0.05 s only: this one at each batch."""

        def _maybe_init_progbar(self):
            super()._maybe_init_progbar()
            self.progbar.interval = 0

    lost = callback()
    model, means = build(keras), SEED_BATCHES[batch_size]
    history = fit(model, lost, EveryBatch(), batch_size=batch_size, verbose=1, validation_data=(ITEMS, ZEROS))
    version = tuple(int(part) for part in keras.__version__.split(".")[:2])
    sizes = [min(batch_size, 8 - batch_size * b) for b in range(len(means))]
    printed = [float(shown) for shown in re.findall(r" loss: (\d\.\d{4})", capsys.readouterr().out)]
    assert printed == pytest.approx(printed_bar(version, means, sizes), abs=5.1e-5)
    for name in ("loss", "val_loss"):
        assert history.history[name] == pytest.approx(running_means(version, means, sizes)[-1:])
    assert board.records(lost.run, "loss", series="train/loss") == pytest.approx(means)
