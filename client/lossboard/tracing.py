"""A watched loss inside torch.compile: seen while it is traced, recorded when its values are drained."""

import math
from collections.abc import Callable, Iterator
from typing import Any, Final

from lossboard import wire
from lossboard.channel import Channel
from lossboard.deferred import TracedRing

_TRAIN, _VAL, _MONITORING = 0.0, 1.0, 2.0  # the split in a row of TracedRing
_DEVICES: Final = ("cpu", "cuda")


class Tracer:
    """The compiled calls of one watched loss.

    While torch.compile traces, only tensor operations are allowed and no state in Python
    may change: the graph writes each call's numbers into a ring, which is read outside.
    """

    def __init__(self, torch: Any, channel: Channel, count_dropped: Callable[[int], None]) -> None:
        self._channel = channel
        self._count_dropped = count_dropped
        self._rings: dict[str, TracedRing] = {}
        if torch is not None:
            # As far as devices are known by now: asking for CUDA would start it.
            known = _DEVICES if torch.cuda.is_initialized() else _DEVICES[:1]
            self._rings = {device: TracedRing(torch, device) for device in known}

    def trace(self, torch: Any, model: Any, args: Any, kwargs: Any, output: Any) -> None:
        """See a call while torch.compile traces it."""
        ring = self._rings.get(output.device.type) if isinstance(output, torch.Tensor) else None
        if ring is None:
            return
        split = _TRAIN if output.requires_grad else _MONITORING if torch.is_grad_enabled() else _VAL
        if model is not None and not model.training:
            split = _VAL
        meaning = self._channel.meaning
        seen = meaning.read(args, kwargs, output.detach())
        unit = wire.WEIGHT_UNITS.index(meaning.unit(args, kwargs, seen))
        reduction = wire.REDUCTIONS.index(seen.reduction)
        ring.put(torch, seen.value, seen.weight, seen.rows, seen.window, split, unit, reduction)

    def has_new_on_host(self) -> bool:
        """Whether compiled calls on the host have left something; nothing is waited for."""
        return "cpu" in self._rings and self._rings["cpu"].has_new()

    def drain(self, run: Any) -> bool:
        """Record what compiled calls have left; return whether there was any."""
        has_any = False
        for value, weight, rows, window, split, unit, reduction in self._rows():
            has_any = True
            if split == _MONITORING:
                run._count("monitoring")
                continue
            name = "train" if split == _TRAIN else "val"
            channel = self._channel
            items = channel.meaning.items(name, None if math.isnan(rows) else int(rows))
            number = channel.number_of(name, wire.REDUCTIONS[int(reduction)], wire.WEIGHT_UNITS[int(unit)])
            # Which optimizer step such a call belonged to is not known any more.
            place = channel.place(name, number, items, None)
            channel.write(place, None, value, _told(weight), _told(window))
        return has_any

    def _rows(self) -> Iterator[list[float]]:
        for ring in self._rings.values():
            yield from ring.take(self._count_dropped)


def _told(number: float) -> float | None:
    return None if math.isnan(number) else number
