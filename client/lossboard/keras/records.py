"""Records of a Keras model's losses: where each stands in its run, and its way to the journal."""

import time
from functools import partial
from typing import Any, Final

import keras

from lossboard import wire
from lossboard.keras.losses import Heard, divide
from lossboard.keras.taps import TRACKS_ITEMS, Tracker
from lossboard.run import Run
from lossboard.watching.deferred import DeviceBuffer

FLUSH_S: Final = 1.0  # for what is still on an accelerator; Keras has read its own numbers by then

_Place = tuple[int, int, int, int | None, int, int | None]


class KerasRecords:
    """The records of one callback in one run."""

    def __init__(self, run: Run, series: str) -> None:
        self.run = run
        self._series = series
        self._position = run._position
        self._device_buffer = DeviceBuffer(self._drop)
        self._trained = 0  # batches
        self._told: set[str] = set()

    def next_epoch(self) -> int:
        """Return the first epoch that a fit which begins now may have."""
        position = self._position
        if not position.is_declared:
            return position.start_epoch
        return position.epoch + position.is_begun  # one that was only declared is still to come

    def begin_pass(self) -> None:
        """Note that an evaluation begins: two without training between them are two passes."""
        self._position.end_pass()

    def record_heard(self, split: str, heard: Heard) -> None:
        """Record a loss that the model has computed; `split` is empty where Keras had begun no batch."""
        value = heard.loss
        if getattr(value, "is_meta", True):
            return  # Keras builds a model by a call without data
        if not split:
            self.run._count("monitoring")  # an evaluation in a callback of the script's own, say
            return
        if value.numel() != 1:
            self.run._count("not-a-scalar")
            self.run._warn("keras-vector", _VECTOR)
            return
        meaning, weight, items = divide(heard)
        dtype = str(value.dtype).removeprefix("torch.")
        traits = {"dtype": dtype} if dtype in wire.DTYPES else {}
        place = self._place(split, meaning, items, traits, heard.model)
        value = value.detach()
        if value.is_cpu:
            self._write(place, None, value.item(), weight.item() if hasattr(weight, "item") else weight)
        else:
            self._device_buffer.put(partial(self._write, place, time.time()), value, weight)

    def record_tracked(self, split: str, tracker: Tracker) -> None:
        """Record what one call of Keras's train or test function has added to the loss tracker."""
        added, count = tracker.difference()
        if not count > 0:
            self.run._count("tracker-stood-still")  # float32 counts to 2^24, and then no further
            return
        steps, reduction = tracker.steps(), tracker.reduction()
        self.run._warn("keras-tracker", _TRACKER.format(backend=keras.backend.backend()))
        if steps > 1:
            self.run._warn("keras-steps", _STEPS.format(steps=steps))
        source = "unknown" if reduction == "unknown" else "assumed"
        items = round(count) if TRACKS_ITEMS else None
        place = self._place(split, (reduction, "items", source), items, {"from_running": True}, tracker.model)
        if steps > 1:
            place = (*place[:-1], None)  # the last call of an epoch may go through fewer
        self._write(place, None, added / count, None)

    def flush(self) -> None:
        """Write what is still on its way from an accelerator."""
        self._device_buffer.flush(FLUSH_S)

    def _place(
        self, split: str, meaning: tuple[str, str, str], items: int | None, traits: dict[str, Any], model: Any
    ) -> _Place:
        """Take the position of a record, and declare its series."""
        name = f"{split}/{self._series}"
        number = self.run._outlet.number_of(name, *meaning)
        if name not in self._told:
            self._told.add(name)
            self.run._outlet.tell(name, **traits)
        # Keras's own optimizers are none of torch's, so nobody else counts their steps.
        step = self._trained // (getattr(model.optimizer, "gradient_accumulation_steps", None) or 1)
        if split != "train":
            epoch, pass_no, batch = self._position.val_record(name)
            return number, epoch, batch, items, pass_no, step
        epoch, batch = self._position.train_record(name)
        self._trained += 1
        return number, epoch, batch, items, 0, step

    def _write(self, place: _Place, at: float | None, value: float, weight: float | None) -> None:
        number, epoch, batch, items, pass_no, step = place
        self.run._append(number, epoch, batch, value, items, weight, pass_no, step=step, time=at)

    def _drop(self, n: int, reason: str) -> None:
        if n:
            self.run._count(reason, n)


_VECTOR: Final = (
    "the model's loss is not one number (reduction=None or 'none'), so there is no batch value to record."
    " Give the loss a reduction, or log what you make of it with run.log."
)
_TRACKER: Final = (
    "on Keras's {backend} backend a batch's own loss can't be heard. It is taken from the float32 totals of"
    " Keras's running mean, whose rounding grows along an epoch: up to 0.007 % of a batch's loss at batch"
    " 1,000, 0.7 % at batch 100,000. That it is a mean over the batch's items is assumed."
)
_STEPS: Final = (
    "steps_per_execution={steps}: Keras tells of its losses once in {steps} batches, so each record is the"
    " mean over the items of up to {steps} batches."
)
