"""The hook on a loss: what it sees of a call becomes a record, and the call stays what it was.

Where the value stands is for `position`, what it was divided by for `weights`, and values
that can't be read at once for `deferred`.
"""

import functools
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from numbers import Real
from typing import Any, Final

from lossboard import loaders, wire
from lossboard.deferred import DeviceBuffer, TracedRing
from lossboard.faults import guard
from lossboard.meaning import Meaning, mean_of, vector_unit

SILENT_ITERATIONS: Final = 2  # one may be a peek, as many scripts begin

_TRAIN, _VAL, _MONITORING = 0.0, 1.0, 2.0  # the split in a row of TracedRing


def watch_loss(
    run: Any, loss_func: Any, loader: Any = None, model: Any = None, series: str = "loss", weight: Any = None
) -> None:
    """Record every call of `loss_func` in `run`, at the positions that `loader` tells.

    A `torch.nn.Module` gets a forward hook, and nothing in the script changes. Any other
    callable can't be hooked in place: call `run.loss` instead of it, which is the same
    function, watched.

    `weight` is what the loss was divided by: a number, or a function of the loss's own
    arguments. `model` tells evaluation by its `training` flag where gradients are left on.

    Raises: TypeError or ValueError for what can't be watched.
    """
    if not callable(loss_func):
        raise TypeError(f"loss_func must be a torch.nn.Module or a function, not {type(loss_func).__name__}")
    if weight is not None and not callable(weight):
        weight = wire.check_weight(weight)
    series = wire.check_series_name(f"train/{series.removeprefix('train/')}").removeprefix("train/")
    watcher = LossWatcher(run, loss_func, loader, model, series, weight)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(loss_func, torch.nn.Module):
        watcher.hook(loss_func)
    else:
        run.loss = watcher.wrap(loss_func)
    run._on_finish(watcher.close)


class LossWatcher:
    """One watched loss of one run: a forward hook, called as such."""

    def __init__(self, run: Any, loss_func: Any, loader: Any, model: Any, series: str, weight: Any) -> None:
        self._run = run
        self._position = run._position
        self._loader = loader
        self._model = model
        self._names = {split: f"{split}/{series}" for split in ("train", "val")}
        self._numbers: dict[str, int] = {}
        self._meaning = Meaning(
            loss_func, weight, loaders.batch_size_of(loader), loaders.last_size_of(loader)
        )
        self._is_closed = False
        self._has_seen = False
        self._handle: Any = None
        self._rings = _rings(sys.modules.get("torch"))
        self._device_buffer = DeviceBuffer(self._write, self._count_dropped)
        if loader is not None:
            loaders.observe(loader, self._position)
        self._position.before_change.append(self._before_change)

    def hook(self, module: Any) -> None:
        """Register as a forward hook of a torch module."""
        self._handle = module.register_forward_hook(self, with_kwargs=True)

    def wrap(self, loss_func: Callable[..., Any]) -> Callable[..., Any]:
        """Return `loss_func` with this watcher behind it."""

        @functools.wraps(loss_func)
        def watched(*args: Any, **kwargs: Any) -> Any:
            output = loss_func(*args, **kwargs)
            self(loss_func, args, kwargs, output)
            return output

        return watched

    def close(self) -> None:
        """Take everything off the watched objects, and hand over what is still on its way."""
        with guard(self._run):
            self._drain(self._rings)
            self._device_buffer.flush(self._run._device_until - time.monotonic())
            if not self._has_seen and self._position.arms:
                self._warn_silence()
        self._is_closed = True
        if self._handle is not None:
            self._handle.remove()
        if self._loader is not None:
            loaders.release(self._loader, self._position)
        if self._before_change in self._position.before_change:
            self._position.before_change.remove(self._before_change)

    def __call__(self, module: Any, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> None:
        """See one call of the loss; never raises, never changes the output."""
        torch = sys.modules.get("torch")
        if torch is not None and torch.compiler.is_compiling():
            self._trace(torch, module, args, kwargs, output)
            return
        if self._is_closed:
            return
        try:
            self._has_seen = True
            self._see(torch, module, args, kwargs, output)
        except Exception:
            with guard(self._run):
                raise

    def __reduce__(self) -> Any:
        # A copy or a pickle of the loss is not watched. What stands in its place is a method of
        # the standard library that takes anything and does nothing, so that a saved model can be
        # loaded where lossboard is not installed.
        return getattr, (nullcontext(), "__exit__")

    def _see(self, torch: Any, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        if torch is None or not isinstance(output, torch.Tensor):
            if isinstance(output, Real):
                self._record("train", float(output), module, args, kwargs)
            else:
                self._refuse(output)
            return
        if self._model is not None and not self._model.training:
            self._record("val", output.detach(), module, args, kwargs)
        elif output.requires_grad:
            if torch._C._current_graph_task_id() == -1:
                self._record("train", output.detach(), module, args, kwargs)
            else:
                self._run._count("recompute")  # activation checkpointing runs the loss again in backward
        elif not torch.is_grad_enabled():
            self._record("val", output, module, args, kwargs)
        else:
            self._run._count("monitoring")

    def _record(self, split: str, value: Any, module: Any, args: Any, kwargs: Any) -> None:
        meaning = self._meaning
        weight: Any
        rows: int | None
        is_vector = type(value) is not float and meaning.is_vector(value)
        if is_vector:
            value, weight, rows = mean_of(value)
        else:
            weight, rows = meaning.weigh(module, args, kwargs)
        items = meaning.items(split, rows)
        number = self._numbers.get(split)
        if number is None:
            unit = vector_unit(rows, weight) if is_vector else meaning.unit(module, args, kwargs)
            number = self._declare(split, unit, is_vector, kwargs.get("reduction"))
        # An accelerator's ring can only be read by waiting for it: once, where a pass begins.
        if split == "val" and not self._position.is_in_pass:
            self._drain(self._rings)
        elif "cpu" in self._rings and self._rings["cpu"].has_new():
            self._drain(("cpu",))
        place = self._place(split, number, items)
        if type(value) is float:
            self._write(place, value, weight)
        elif value.is_cpu:
            # Read at once: `loss /= k` in place would change what is kept.
            self._write(place, value.item(), weight.item() if hasattr(weight, "item") else weight)
        else:
            self._device_buffer.put((*place, time.time()), value, weight)

    def _place(self, split: str, number: int, items: int | None) -> tuple[Any, ...]:
        if split == "train":
            epoch, batch = self._position.train_record(self._names["train"])
            if epoch < 0:
                self._run._warn("epoch-undeclared", _OTHER if self._position.is_observed else _UNDECLARED)
            elif self._position.is_forsaken:
                self._run._warn("epoch-forsaken", _FORSAKEN)
            return number, epoch, batch, items, 0
        epoch, pass_no, batch = self._position.val_record(self._names["val"])
        return number, epoch, batch, items, pass_no

    def _write(self, place: tuple[Any, ...], value: float, weight: float | None) -> None:
        number, epoch, batch, items, pass_no, *times = place
        if items == 0 and math.isfinite(value):
            self._run._count("empty-batch")  # a sum over nothing is 0 and measures nothing
            return
        at = times[0] if times else None
        self._run._append(number, epoch, batch, value, items, weight, pass_no, time=at)

    def _declare(self, split: str, unit: str, is_vector: bool, told_reduction: Any = None) -> int:
        if is_vector:
            self._run._warn("vector-loss", _VECTOR)
        meaning = self._meaning.settle(unit, is_vector, told_reduction)
        number: int = self._run._series_number(self._names[split], *meaning)
        self._numbers[split] = number
        return number

    def _trace(self, torch: Any, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        """See a call while torch.compile traces it: tensor operations only, no state in Python."""
        ring = self._rings.get(output.device.type) if isinstance(output, torch.Tensor) else None
        if ring is None:
            return
        split = _TRAIN if output.requires_grad else _MONITORING if torch.is_grad_enabled() else _VAL
        if self._model is not None and not self._model.training:
            split = _VAL
        value = output.detach()
        weight: Any
        rows: int | None
        is_vector = self._meaning.is_vector(value)
        if is_vector:
            value, weight, rows = mean_of(value)
            unit = vector_unit(rows, weight)
        else:
            weight, rows = self._meaning.weigh(module, args, kwargs)
            unit = self._meaning.unit(module, args, kwargs)
        ring.put(torch, value, weight, rows, split, wire.WEIGHT_UNITS.index(unit), is_vector)

    def _drain(self, devices: Iterable[str]) -> None:
        """Record what compiled calls have left on these devices."""
        for device in devices:
            for value, weight, rows, split, unit, is_vector in self._rings[device].take(self._count_dropped):
                self._has_seen = True
                if split == _MONITORING:
                    self._run._count("monitoring")
                    continue
                name = "train" if split == _TRAIN else "val"
                number = self._numbers.get(name)
                items = self._meaning.items(name, None if math.isnan(rows) else int(rows))
                if number is None:
                    number = self._declare(name, wire.WEIGHT_UNITS[int(unit)], bool(is_vector))
                place = self._place(name, number, items)
                self._write(place, value, None if math.isnan(weight) else weight)

    def _before_change(self) -> None:
        """Give late values their place before an epoch can begin, and notice a loss that never speaks."""
        with guard(self._run):
            self._drain(self._rings)
            if not self._has_seen and self._position.arms >= SILENT_ITERATIONS:
                self._warn_silence()

    def _count_dropped(self, n: int) -> None:
        if n:
            self._run._count("device-buffer", n)

    def _warn_silence(self) -> None:
        self._run._warn(
            "loss-not-called",
            f"the watched loader was iterated {self._position.arms} times and the watched loss never called."
            " If the loss runs inside torch.compile, call lossboard.watch before the first compiled call;"
            " otherwise watch the loss object, or call run.loss for a function, that the loop uses.",
        )

    def _refuse(self, output: Any) -> None:
        self._run._count("not-a-tensor")
        self._run._warn(
            "not-a-tensor",
            f"the watched loss returned {type(output).__name__}, not a tensor; watch the part that returns"
            " the loss, or call run.log(epoch, batch, loss, batch_size).",
        )


def _rings(torch: Any) -> dict[str, TracedRing]:
    """Make the places for compiled calls to write to, as far as devices are known by now."""
    if torch is None:
        return {}
    devices = ["cpu", "cuda"] if torch.cuda.is_initialized() else ["cpu"]
    return {device: TracedRing(torch, device) for device in devices}


_UNDECLARED: Final = (
    "nothing tells when an epoch begins, so sums over an epoch can't be shown. Pass the training loader:"
    " lossboard.watch(loss_func, loader); for a list or a generator loop over `for epoch in run.epochs(n)`,"
    " or set run.epoch = epoch."
)
_OTHER: Final = (
    "the loop does not iterate the watched loader, so nothing tells when an epoch begins. Call"
    " lossboard.watch with the loader that the loop iterates, after accelerator.prepare and the like; or loop"
    " over `for epoch in run.epochs(n)`."
)
_FORSAKEN: Final = (
    "training goes on although the watched loader's iteration has ended; everything counts to its last epoch."
    " Where each epoch makes a loader of its own, loop over `for epoch in run.epochs(n)`, or set run.epoch."
)
_VECTOR: Final = (
    "the watched loss returns one value per item or element (reduction='none'). Their plain mean is recorded;"
    " if you weight or mask them before backward, that is another number: log it with run.log."
)
