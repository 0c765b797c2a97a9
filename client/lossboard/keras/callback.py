"""A Keras callback that records each batch's own loss, never the running mean that stands in Keras's logs.

    from lossboard.keras import LossboardCallback
    model.fit(x, y, callbacks=[LossboardCallback(project="digits")])

On the torch backend `model.compute_loss` is heard, and what its loss divided by with it.
Elsewhere compiled code hides that call: there a batch's loss is the difference of two states
of Keras's loss tracker.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any, Concatenate, Final, ParamSpec

try:
    import keras
except ModuleNotFoundError as error:
    if error.name != "keras":  # a backend that is missing is Keras's to explain
        raise
    raise ModuleNotFoundError("lossboard.keras needs Keras 3: pip install keras", name="keras") from None
if int(keras.__version__.split(".")[0]) < 3:
    raise ImportError(f"lossboard.keras needs Keras 3, this is {keras.__version__}: pip install -U keras")

from lossboard import wire
from lossboard.faults import Faults, guard
from lossboard.keras.losses import Heard
from lossboard.keras.records import KerasRecords
from lossboard.keras.taps import Tap, Tracker
from lossboard.run import Run
from lossboard.starting import init

__all__ = ["LossboardCallback"]

_P = ParamSpec("_P")


def _kept_from_fit(
    method: "Callable[Concatenate[LossboardCallback, _P], None]",
) -> "Callable[Concatenate[LossboardCallback, _P], None]":
    """Keep what goes wrong in a method of the callback from `fit`, unless the run is strict."""

    def guarded(self: "LossboardCallback", /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        with guard(self):
            method(self, *args, **kwargs)

    functools.update_wrapper(guarded, method)
    return guarded


class LossboardCallback(keras.callbacks.Callback):  # type: ignore[misc]
    """Record the loss of every batch of `fit` and `evaluate`: pass it in `callbacks=[...]`.

    `run` is an open run, which stays open, or an id; `common` are the arguments of
    `lossboard.init`. Without an open run each fit is a run of its own, finished where the
    fit ends; where a fit raised, its run ends as failed when the next one begins, or with
    the script. `series` names the loss.

    Epochs are Keras's own, `initial_epoch` included. A second fit into the same open run
    goes on behind the epochs that it has, even where Keras counts from 0 again.
    Validation in a fit is split `val`; `model.evaluate(..., callbacks=[callback])` by
    itself is split `eval`. An evaluation that is not given the callback is not recorded.

    Raises: ValueError or TypeError naming the argument.
    """

    def __init__(self, *, run: Run | str | None = None, series: str = "loss", **common: Any) -> None:
        super().__init__()
        if isinstance(run, Run):
            if not run._is_open:
                raise ValueError(f"run {run.name} is finished; a callback without run= starts another")
            if common:
                raise TypeError(
                    f"{', '.join(common)}: the run is open already; these belong to where it starts"
                )
        else:
            _check_arguments(run=run, **common)  # what is wrong should be said here, not in fit
        self._series = wire.check_series_name(f"train/{series.removeprefix('train/')}").removeprefix("train/")
        self._given = run
        self._common = common
        self._uses_tracker = keras.backend.backend() != "torch"
        self._faults = Faults(strict=common.get("strict") is True)  # later those of the run
        self._records: KerasRecords | None = None
        self._tap: Tap | None = None
        self._tracker: Tracker | None = None
        self._starter = ""  # what we began to hear for: a fit, or an evaluation by itself
        self._in_fit = False
        self._armed = ""  # the split of the batch that Keras has begun
        self._offset: int | None = None  # from Keras's epochs to the run's

    @property
    def run(self) -> Run | None:
        """The run that is recorded to; None before a fit has begun one."""
        return self._records.run if self._records is not None else None

    @property
    def async_safe(self) -> bool:
        """Whether Keras may tell the ends of batches late, as it does where it need not wait for a device."""
        return not self._uses_tracker

    def set_model(self, model: Any) -> None:
        """Take the model: so Keras begins a fit, or an evaluation by itself, and nothing within a fit."""
        super().set_model(model)
        self._in_fit = False
        self._armed = ""

    @_kept_from_fit
    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002 - Keras calls by these names
        """Begin to hear a fit."""
        self._end(self._starter, "failed")  # of a fit that raised Keras tells nobody
        self._begin("fit")
        self._in_fit = True
        self._offset = None

    @_kept_from_fit
    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Begin an epoch of the run."""
        self._in_fit = True
        if self._records is not None:
            if self._offset is None:
                self._offset = max(0, self._records.next_epoch() - epoch)
            self._records.run.epoch = epoch + self._offset
        if self._tracker is not None:
            self._tracker.reset()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Expect one loss; what else computes one before the next batch begins is not of this fit."""
        self._in_fit = True
        self._arm("train")

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Expect one loss of a validation, or of an evaluation by itself."""
        self._arm("val" if self._in_fit else "eval")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Read the tracker, on the backends where nothing is heard."""
        if self._uses_tracker:
            self._read()

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Read the tracker, as in training."""
        if self._uses_tracker:
            self._read()

    @_kept_from_fit
    def on_test_begin(self, logs: Any = None) -> None:  # noqa: ARG002
        """Begin a pass."""
        if not self._in_fit:
            self._begin("evaluation")
        if self._records is not None:
            self._records.begin_pass()
        if self._tracker is not None:
            self._tracker.reset()

    @_kept_from_fit
    def on_test_end(self, logs: Any = None) -> None:  # noqa: ARG002
        """Stop hearing, where this was an evaluation by itself."""
        self._arm("")
        self._end("evaluation")

    @_kept_from_fit
    def on_train_end(self, logs: Any = None) -> None:  # noqa: ARG002
        """Stop hearing, and finish the run that the fit began."""
        self._in_fit = False
        self._arm("")
        self._end("fit")

    def _arm(self, split: str) -> None:
        """Expect a loss of `split`; say so where the one that was expected before never came."""
        if self._armed and self._tap is not None and self._records is not None:
            self._records.run._warn("keras-unheard", _UNHEARD.format(split=self._armed))
        self._armed = split

    def _begin(self, starter: str) -> None:
        if self._starter:
            return  # an evaluation in the middle of a fit
        run = self._given if isinstance(self._given, Run) else init(run=self._given, **self._common)
        if not run._is_open:
            run._warn(
                "keras-finished", f"run {run.name} is finished, so nothing of this {starter} is recorded"
            )
            return
        if self._records is None or self._records.run is not run:
            self._faults = run._faults
            self._records = KerasRecords(run, self._series)
            run._on_finish(self._let_go)  # where a fit raised, this is how the model is set free
        self._starter = starter
        if self._uses_tracker:
            self._tracker = Tracker(self._model)  # not self.model, which makes JAX copy its state
        else:
            self._tap = Tap(self.model, self._see, self)

    def _end(self, starter: str, state: str = "finished") -> None:
        if not starter or starter != self._starter:
            return
        self._let_go()
        if self._records is not None and self._records.run is not self._given:
            self._records.run.finish(state)

    def _let_go(self) -> None:
        self._starter = ""
        self._tracker = None
        if self._tap is not None:
            self._tap.remove()
            self._tap = None
        if self._records is not None:
            self._records.flush()

    @_kept_from_fit
    def _see(self, heard: Heard) -> None:
        split, self._armed = self._armed, ""
        if self._records is not None:
            self._records.record_heard(split, heard)

    @_kept_from_fit
    def _read(self) -> None:
        split, self._armed = self._armed, ""
        if self._records is not None and self._tracker is not None and split:
            self._records.record_tracked(split, self._tracker)


def _check_arguments(**given: Any) -> None:
    from lossboard.settings import read_settings

    inspect.signature(init).bind(**given)
    read_settings(given)


_UNHEARD: Final = (
    "Keras went through a batch ({split}) without calling the model's compute_loss, so that its loss is not"
    " recorded. In a train_step or test_step of your own compute it by self.compute_loss(x, y, y_pred),"
    " or log it by run.log(epoch, batch, loss, batch_size)."
)
