"""A watched loss inside torch.compile: seen while it is traced, recorded when its values are drained."""

import math
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any, Final

from lossboard import wire
from lossboard.watching.channel import Channel
from lossboard.watching.deferred import TracedRing

_TRAIN, _VAL, _MONITORING, _LOST = 0.0, 1.0, 2.0, 3.0  # the split in a row of TracedRing
_LOST_ROW: Final = (None, None, None, None, _LOST, 0, 0, -1)
_DEVICES: Final = ("cpu", "cuda")


def keep_eager(torch: Any, code: CodeType) -> None:
    """Keep torch.compile from compiling a hook by itself, where its module was compiled and no more.

    Within a larger graph the hook is traced as before.
    Source: torch/_dynamo/eval_frame.py, `skip_code`; checked with 2.13.
    """
    try:
        frames = torch._C._dynamo.eval_frame
        skip = frames._FrameAction.SKIP
        frames.set_code_exec_strategy(code, frames._FrameExecStrategy(skip, skip))
    except (AttributeError, TypeError):
        return  # an older torch: there it is traced


class Tracer:
    """The compiled calls of one watched loss.

    While torch.compile traces, only tensor operations are allowed and no state in Python
    may change: the graph writes each call's numbers into a ring, which is read outside.
    """

    def __init__(self, torch: Any, channel: Channel, count_dropped: Callable[[int, str], None]) -> None:
        self._channel = channel
        self._count_dropped = count_dropped
        self._rings: dict[str, TracedRing] = {}
        self._kinds: dict[Any, int] = {}
        if torch is not None:
            # As far as devices are known by now: asking for CUDA would start it.
            known = _DEVICES if torch.cuda.is_initialized() else _DEVICES[:1]
            self._rings = {device: TracedRing(torch, device) for device in known}
            self._kinds = {getattr(torch, name): number for number, name in enumerate(wire.DTYPES)}
        self._on_host = self._rings.get("cpu")

    def trace(self, torch: Any, model: Any, args: Any, kwargs: Any, output: Any) -> None:
        """See a call while torch.compile traces it; what can't be read leaves a row that says so."""
        value = output if isinstance(output, torch.Tensor) else self._channel.meaning.loss_in(output)
        is_tensor = isinstance(value, torch.Tensor)
        ring = self._rings.get(value.device.type if is_tensor else "cpu")
        if ring is None:
            return
        row: tuple[Any, ...] = _LOST_ROW
        if is_tensor:
            try:
                row = self._read(torch, model, args, kwargs, value)
            except Exception:  # of a weight of the script's: it would be an error in its training
                row = _LOST_ROW
        ring.put(torch, *row)

    def has_new_on_host(self) -> bool:
        """Whether compiled calls on the host have left something; nothing is waited for."""
        return self._on_host is not None and self._on_host.has_new()

    def forget(self) -> None:
        """In a forked child: what compiled calls left before is the parent's to record."""
        for ring in self._rings.values():
            ring.forget()

    def drain(self, run: Any) -> bool:
        """Record what compiled calls have left; return whether there was any."""
        has_any = False
        for value, weight, rows, window, split, unit, reduction, kind in self._rows():
            has_any = True
            if split == _MONITORING:
                run._count("monitoring")
                continue
            if split == _LOST:
                run._count("compiled")
                run._warn("compiled", _COMPILED)
                continue
            name = "train" if split == _TRAIN else "val"
            channel = self._channel
            items = channel.meaning.items(name, None if math.isnan(rows) else int(rows))
            dtype = wire.DTYPES[int(kind)] if kind >= 0 else None
            number = channel.number_of(
                name, wire.REDUCTIONS[int(reduction)], wire.WEIGHT_UNITS[int(unit)], dtype
            )
            # Which optimizer step such a call belonged to is not known any more.
            place = channel.place(name, number, items, None)
            channel.write(place, None, value, _told(weight), _told(window))
        return has_any

    def _read(self, torch: Any, model: Any, args: Any, kwargs: Any, value: Any) -> tuple[Any, ...]:
        meaning = self._channel.meaning
        split = _TRAIN if value.requires_grad else _MONITORING if torch.is_grad_enabled() else _VAL
        if model is not None and not model.training:
            split = _VAL
        seen = meaning.read(args, kwargs, value.detach())
        unit = wire.WEIGHT_UNITS.index(meaning.unit(args, kwargs, seen))
        reduction = wire.REDUCTIONS.index(seen.reduction)
        kind = self._kinds.get(value.dtype, -1)
        return seen.value, seen.weight, seen.rows, seen.window, split, unit, reduction, kind

    def _rows(self) -> Iterator[list[float]]:
        for ring in self._rings.values():
            yield from ring.take(self._count_dropped)


def _told(number: float) -> float | None:
    return None if math.isnan(number) else number


_COMPILED: Final = (
    "the watched loss runs inside torch.compile and gives there what can't be read: several values, or a"
    " weight= that can't be compiled. Watch what is called from outside the compiled code, as in"
    " lossboard.watch(torch.compile(model)), or compile the model without the loss."
)
