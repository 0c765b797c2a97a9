"""Fits and evaluations of Keras become the runs, epochs and passes that they are."""

import subprocess
import sys

import pytest

import lossboard
from keras_models import ARRAY_WARNING, ITEMS, SEED_BATCHES, ZEROS, build, fit

pytestmark = pytest.mark.filterwarnings(ARRAY_WARNING)


def test_epochs_are_those_of_keras(keras, board, callback):
    lost = callback()
    fit(build(keras), lost, batch_size=8, initial_epoch=3, epochs=5)
    assert board.records(lost.run, "epoch") == [3, 4]


def test_each_fit_is_a_run_of_its_own_unless_it_is_given_one(keras, board, callback):
    lost, model = callback(), build(keras)
    fit(model, lost, batch_size=8)
    first = lost.run
    assert not first._is_open
    fit(model, lost, batch_size=8)
    assert lost.run is not first
    assert board.records(lost.run, "epoch") == [0]


@pytest.mark.parametrize("is_new", [False, True])
def test_second_fit_goes_on_behind_the_epochs_of_an_open_run(keras, board, callback, is_new):
    run = lossboard.init(mode="offline", strict=True, dir=board._folder)
    board.runs.append(run)
    lost, model = callback(run=run), build(keras)
    fit(model, lost, batch_size=8, epochs=2)
    assert run._is_open
    fit(model, callback(run=run) if is_new else lost, batch_size=8, epochs=2)
    fit(model, lost, batch_size=8, initial_epoch=7, epochs=8)
    assert board.records(run, "epoch") == [0, 1, 2, 3, 7]


def test_fit_inside_a_loop_over_the_runs_epochs_is_in_that_epoch(keras, board, callback):
    run = lossboard.init(mode="offline", strict=True, dir=board._folder)
    board.runs.append(run)
    lost, model = callback(run=run), build(keras)
    for _epoch in run.epochs(3):
        fit(model, lost, batch_size=4)
    assert board.records(run, "epoch", "batch") == [(e, b) for e in range(3) for b in range(2)]


def test_fit_that_raises_leaves_nothing_that_counts_twice(keras, board, callback):
    class Stop(keras.callbacks.Callback):
        is_due = True

        def on_train_batch_end(self, batch, logs=None):
            if Stop.is_due and batch == 1:
                raise KeyboardInterrupt

    lost, model = callback(), build(keras)
    with pytest.raises(KeyboardInterrupt):
        fit(model, lost, Stop())
    broken = lost.run
    model.train_on_batch(ITEMS, ZEROS)
    model.evaluate(ITEMS, ZEROS, verbose=0)
    assert board.records(broken, "loss") == pytest.approx([11 / 3, 3.0])
    assert broken._faults.counts() == {"monitoring": 2}
    Stop.is_due = False
    fit(model, lost, Stop())
    assert not broken._is_open
    assert lost.run is not broken
    assert board.records(lost.run, "loss") == pytest.approx(SEED_BATCHES[3])
    assert "compute_loss" not in vars(model)


def test_run_that_ends_sets_the_model_of_a_broken_fit_free(keras, board, callback):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise RuntimeError("stop")

    lost, model = callback(), build(keras)
    with pytest.raises(RuntimeError, match="stop"):
        fit(model, lost, Stop())
    assert "compute_loss" in vars(model)
    lost.run.finish("failed")
    assert "compute_loss" not in vars(model)


def test_evaluation_by_itself_is_no_validation(keras, board, callback):
    run = lossboard.init(mode="offline", strict=True, dir=board._folder)
    board.runs.append(run)
    lost, model = callback(run=run), build(keras)
    fit(model, lost, validation_data=(ITEMS, ZEROS))
    for _ in range(2):
        model.evaluate(ITEMS, ZEROS, batch_size=4, verbose=0, callbacks=[lost])
    assert board.records(run, "loss", "epoch", "pass_no", series="eval/loss") == [
        (3.75, 0, 1), (2.25, 0, 1), (3.75, 0, 2), (2.25, 0, 2),
    ]  # fmt: skip
    assert len(board.records(run, "loss", series="val/loss")) == 3
    assert run._is_open


@pytest.mark.parametrize("is_given", [False, True])
def test_evaluation_in_a_callback_of_the_scripts_is_recorded_only_if_given_ours(
    keras, board, callback, is_given
):
    lost = callback()

    class Check(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            ours = [lost] if is_given else []
            self.model.evaluate(ITEMS, ZEROS, batch_size=8, verbose=0, callbacks=ours)

    fit(build(keras), lost, Check(), epochs=2, validation_data=(ITEMS, ZEROS))
    assert board.records(lost.run, "epoch", series="train/loss") == [0, 0, 0, 1, 1, 1]
    assert board.records(lost.run, "epoch", series="val/loss") == [0, 0, 0, 1, 1, 1]
    assert board.records(lost.run, "epoch", "loss", series="eval/loss") == [(0, 3.0), (1, 3.0)] * is_given
    assert lost.run._faults.counts() == ({} if is_given else {"monitoring": 2})


def test_misuse_is_raised_where_the_callback_is_made(keras, board, callback):
    with pytest.raises(TypeError, match="projekt"):
        callback(projekt="digits")
    with pytest.raises(ValueError, match="mode"):
        callback(mode="onlin")
    with pytest.raises(ValueError, match="series"):
        callback(series="")
    run = lossboard.init(mode="disabled")
    from lossboard.keras import LossboardCallback

    with pytest.raises(TypeError, match="name"):
        LossboardCallback(run=run, name="late")
    run.finish()
    with pytest.raises(ValueError, match="finished"):
        LossboardCallback(run=run)


def python(*lines):
    command = [sys.executable, "-c", "\n".join(lines)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_keras_is_loaded_by_who_asks_for_it_only():
    asked = python("import sys, lossboard", "print('keras' in sys.modules)")
    assert asked.stdout == "False\n"


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (
            "sys.modules['keras'] = None",
            "ModuleNotFoundError: lossboard.keras needs Keras 3: pip install keras",
        ),
        (
            "sys.modules['keras'] = types.SimpleNamespace(__version__='2.15.0')",
            "ImportError: lossboard.keras needs Keras 3, this is 2.15.0: pip install -U keras",
        ),
    ],
)
def test_missing_keras_names_the_command_that_installs_it(state, said):
    assert python("import sys, types", state, "import lossboard.keras").stderr.splitlines()[-1] == said
