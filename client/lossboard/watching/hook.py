"""The hook on a loss: what it sees of a call becomes a record, and the call stays what it was.

What the call means is for `meaning`, the way to the journal for `channel`, and calls inside
torch.compile for `tracing`.
"""

import functools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from numbers import Real
from typing import Any, Final

from lossboard import wire
from lossboard.faults import guard
from lossboard.meaning.disturbance import is_muted
from lossboard.meaning.meaning import Meaning
from lossboard.meaning.model_loss import is_inference
from lossboard.watching import loaders
from lossboard.watching.channel import Channel
from lossboard.watching.deferred import CAPTURED, DeviceBuffer
from lossboard.watching.frames import is_checkpointed
from lossboard.watching.parts import PartsCheck, find_total, name_part, read_parts
from lossboard.watching.shortcut import Shortcut, make_shortcut
from lossboard.watching.silence import notice_silence
from lossboard.watching.tracing import Tracer, keep_eager


def watch_loss(run: Any, loss_func: Any, loader: Any, model: Any, series: str, weight: Any) -> None:
    """Record every call of the callable `loss_func` in `run`, at the positions that `loader` tells.

    A `torch.nn.Module` gets a forward hook, and nothing in the script changes. Any other
    callable can't be hooked in place: call `run.loss` instead of it, which is the same
    function, watched.

    `weight` is what the loss was divided by: a number, a function of the loss's own
    arguments, or a mapping of these for a loss that returns several values by name.
    `model` tells evaluation by its `training` flag where gradients are left on.

    Raises: TypeError or ValueError for what can't be watched.
    """
    for each in weight.values() if isinstance(weight, Mapping) else (weight,):
        if each is not None and not callable(each):
            wire.check_weight(each)
    series = wire.check_series_name(f"train/{series.removeprefix('train/')}").removeprefix("train/")
    watcher = LossWatcher(run, loss_func, loader, model, series, weight)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(loss_func, torch.nn.Module):
        watcher.hook(loss_func)
    else:
        run.loss = watcher.wrap(loss_func)
    run._watched.append((loss_func, weight, series))
    run._on_finish(watcher.close)
    run._on_fork(watcher._forget_parent)


class LossWatcher:
    """One watched loss of one run: a forward hook, called as such."""

    def __init__(self, run: Any, loss_func: Any, loader: Any, model: Any, series: str, weight: Any) -> None:
        self._run = run
        self._position = run._position
        self._clock = run._clock
        self._loss_func = loss_func
        self._find_loader = loaders.refer(loader)
        self._model = model
        self._series = series
        self._weight = weight
        self._is_closed = False
        self._has_seen = False
        self._is_checkpointed = False
        self._handle: Any = None
        self._shortcut: Shortcut | None = None
        self._device_buffer = DeviceBuffer(self._count_dropped)
        self._main = self._open_channel(series, None if isinstance(weight, Mapping) else weight)
        self._parts: dict[str, Channel] = {}
        self._parts_check = PartsCheck(run)
        self._tracer = Tracer(sys.modules.get("torch"), self._main, self._count_dropped)
        if loader is not None:
            loaders.observe(loader, self._position)
        self._position.before_change.append(self._before_change)
        self._clock.start()

    def hook(self, module: Any) -> None:
        """Register as a forward hook of a torch module."""
        keep_eager(sys.modules["torch"], type(self).__call__.__code__)
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
            self._drain()
            self._device_buffer.flush(self._run._device_until - time.monotonic())
            notice_silence(self._run, has_seen=self._has_seen, is_over=True)
            self._notice_weights()
        self._is_closed = True
        self._shortcut = None
        self._clock.stop()
        if self._handle is not None:
            self._handle.remove()
        loaders.release(self._find_loader(), self._position)
        if self._before_change in self._position.before_change:
            self._position.before_change.remove(self._before_change)

    def __call__(self, _module: Any, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> None:
        """See one call of the loss; never raises, never changes the output."""
        torch = sys.modules.get("torch")
        if torch is not None and torch.compiler.is_compiling():
            self._tracer.trace(torch, self._model, args, kwargs, output)
            return
        try:
            shortcut = self._shortcut
            if shortcut is not None and shortcut(args, kwargs, output):
                return
            if self._is_closed or is_muted() or (torch is not None and torch.jit.is_tracing()):
                return  # torch.jit.trace compares graphs, and whatever we ask a tensor would be in one
            self._has_seen = True
            self._see(torch, args, kwargs, output)
        except Exception:
            if _is_transformed(torch, output):
                self._run._count("transformed")
                self._run._warn("transformed", _TRANSFORMED)
                return
            with guard(self._run):
                raise

    def __reduce__(self) -> Any:
        # A copy or a pickle of the loss is not watched. What stands in its place is a method of
        # the standard library that takes anything and does nothing, so that a saved model can be
        # loaded where lossboard is not installed.
        return getattr, (nullcontext(), "__exit__")

    def _see(self, torch: Any, args: Any, kwargs: Any, output: Any) -> None:
        if torch is not None and isinstance(output, torch.Tensor):
            value = output
        elif isinstance(output, Real):
            self._main.record("train", args, kwargs, output, float(output))
            return
        else:
            value = None if torch is None else self._main.meaning.value_of(output)
            if not isinstance(value, torch.Tensor if torch is not None else ()):
                self._see_parts(torch, args, kwargs, output)
                return
        split = self._split_of(torch, value)
        if split is not None:
            # An accelerator's ring can only be read by waiting for it: once, where a pass begins.
            if self._tracer.has_new_on_host() or (split == "val" and not self._position.is_in_pass):
                self._drain()
            self._main.record(split, args, kwargs, output, value)
            if self._shortcut is None and self._main.is_settled and not self._main.meaning.is_asking:
                has_new = self._tracer.has_new_on_host
                self._shortcut = make_shortcut(torch, self._run, self._main, self._model, has_new)

    def _see_parts(self, torch: Any, args: Any, kwargs: Any, output: Any) -> None:
        """Record each of several named values in a series of its own."""
        parts = None if torch is None else read_parts(torch, output)
        if parts is None:
            if not is_inference(output):
                self._refuse(output)
            return
        values = list(parts.values())
        split = self._split_of(torch, next((value for value in values if value.requires_grad), values[0]))
        if split is None:
            return
        total = find_total(parts)
        for name, value in parts.items():
            channel = self._parts.get(name) or self._open_part(name, total)
            if channel is not None:
                channel.record(split, args, kwargs, value, value)
        if split == "train":
            self._parts_check.look(self._parts)

    def _split_of(self, torch: Any, value: Any) -> str | None:
        """Tell training from validation; None, counted, for what is neither."""
        if self._model is not None and not self._model.training:
            return "val"
        if value.requires_grad:
            if torch._C._current_graph_task_id() != -1:
                self._is_checkpointed = True
                self._run._count("recompute")  # activation checkpointing runs the loss again in backward
            elif self._clock.is_inside and self._clock.is_repeated(value):
                self._run._count("closure")
            else:
                return "train"
            return None
        if not torch.is_grad_enabled():
            is_new = self._is_checkpointed or not self._position.is_in_pass
            return "train" if is_new and is_checkpointed() else "val"
        self._run._count("monitoring")
        return None

    def _open_part(self, part: str, total: str | None) -> Channel | None:
        try:
            name = name_part(self._series, part, total)
        except wire.RecordError as error:
            self._run._refuse(error)
            return None
        weight = self._weight.get(part) if isinstance(self._weight, Mapping) else None
        self._parts[part] = self._open_channel(name, weight, part)
        return self._parts[part]

    def _open_channel(self, name: str, weight: Any, part: str | None = None) -> Channel:
        loader = self._find_loader()
        loss_func = self._loss_func
        if part is not None:  # a module has buffers and our hook: its parts are not asked for
            loss_func = None if hasattr(loss_func, "forward") else _Part(loss_func, part)
        sizes = loaders.batch_size_of(loader), loaders.last_size_of(loader)
        meaning = Meaning(loss_func, weight, *sizes)
        expected = loaders.dataset_items(loader)
        return Channel(self._run, name, meaning, self._device_buffer, self._clock, expected)

    def _drain(self) -> None:
        """Record what compiled calls have left."""
        self._has_seen |= self._tracer.drain(self._run)

    def _before_change(self) -> None:
        """Give late values their place before an epoch can begin, and notice a loss that never speaks."""
        with guard(self._run):
            self._drain()
            self._device_buffer.send()
            notice_silence(self._run, has_seen=self._has_seen, is_over=False)

    def _count_dropped(self, n: int, reason: str) -> None:
        if n:
            self._run._count(reason, n)
        if reason == "cuda-graph":
            self._run._warn(reason, CAPTURED)

    def _forget_parent(self) -> None:
        """In a forked child: what has not arrived yet is the parent's to record."""
        self._device_buffer.forget()
        self._tracer.forget()

    def _notice_weights(self) -> None:
        if isinstance(self._weight, Mapping) and self._has_seen:
            unknown = sorted(self._weight.keys() - self._parts.keys())
            if unknown:
                said = f"weight= names {', '.join(map(str, unknown))}, which the watched loss never returned."
                self._run._warn("weight-unused", said)

    def _refuse(self, output: Any) -> None:
        self._run._count("not-a-tensor")
        self._run._warn(
            "not-a-tensor",
            f"the watched loss returned {type(output).__name__}, not a tensor and no mapping of scalar ones;"
            " watch the part that returns the loss, or call run.log(epoch, batch, loss, batch_size).",
        )


def _is_transformed(torch: Any, output: Any) -> bool:
    """Whether torch.func is at work, under whose vmap a loss has no value of its own."""
    transforms = getattr(torch and torch._C, "_functorch", None)
    return transforms is not None and transforms.is_functorch_wrapped_tensor(output)


_TRANSFORMED: Final = (
    "the watched loss is called inside torch.func.vmap, where it has no value of its own. Log what vmap"
    " returns: run.log(epoch, batch, loss, batch_size)."
)


class _Part:
    """One named value of a loss that returns several, as a callable of its own."""

    def __init__(self, loss_func: Callable[..., Any], name: str) -> None:
        self._loss_func = loss_func
        self._name = name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        output = self._loss_func(*args, **kwargs)
        return output[self._name] if isinstance(output, Mapping) else getattr(output, self._name)
