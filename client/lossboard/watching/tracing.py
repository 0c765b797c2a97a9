"""A watched loss inside torch.compile: seen while it is traced, recorded when its values are drained."""

import math
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any, Final

from lossboard import wire
from lossboard.watching.channel import Channel

RING_ROWS: Final = 65_536  # calls between two readings
RING_COLUMNS: Final = 8  # loss, weight, rows, window, split, unit, reduction, dtype: 4 MiB in all
READ_ROWS: Final = 256  # at a time: all of them would be 16 MiB of Python's floats

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


class TracedRing:
    """Keep the losses of compiled calls in a tensor that the compiled graph itself writes.

    A list would be guarded on its length: appending to it recompiles at each step until
    torch gives up at its limit of 8 (measured, torch 2.13), and under fullgraph that is an
    error in the script. Writing rows in place needs no guard and no graph break.
    """

    def __init__(self, torch: Any, device: str, size: int = RING_ROWS) -> None:
        self.size = size
        self.rows = torch.zeros(size, RING_COLUMNS, dtype=torch.float64, device=device)
        self.at = torch.zeros(1, dtype=torch.int64, device=device)  # rows ever written
        self._taken = 0
        self._unused = self.at._version
        for tensor in (self.rows, self.at):
            # As torch._dynamo.mark_static_address does, which would have to be imported for it: else a graph
            # that writes to an input is left out of CUDA graphs, and mode="reduce-overhead" is for nothing.
            tensor._dynamo_static_input_type = "unguarded"

    def put(self, torch: Any, *row: Any) -> None:
        """Write one row inside the graph; its cells are tensors or numbers, None becomes NaN."""
        cells = [
            cell.detach().to(torch.float64).reshape(())
            if isinstance(cell, torch.Tensor)
            else torch.full(
                (), math.nan if cell is None else cell, dtype=torch.float64, device=self.rows.device
            )
            for cell in row
        ]
        self.rows.index_copy_(0, self.at % self.size, torch.stack(cells).unsqueeze(0))
        self.at.add_(1)

    def is_used(self) -> bool:
        """Whether any compiled call has ever written here; known without asking the device."""
        return bool(self.at._version != self._unused)

    def has_new(self) -> bool:
        """Whether rows were written since the last time."""
        return self.at._version != self._unused and bool(self.at.item() != self._taken)

    def forget(self) -> None:
        """In a forked child: rows that were written before are the parent's."""
        if not self.is_used():
            return
        if self.at.is_cpu:
            self._taken = int(self.at.item())
        else:
            self._unused = self.at._version  # a child may not ask the device

    def take(self, drop: Callable[[int, str], None]) -> Iterator[list[float]]:
        """Yield the rows written since the last time, oldest first; overwritten ones are dropped.

        Waits for the device where compiled calls write to it, and only there.
        """
        if not self.is_used():
            return
        written = int(self.at.item())
        if written == self._taken:
            return
        first = max(self._taken, written - self.size)
        drop(first - self._taken, "device-buffer")
        self._taken = written
        for start in range(first, written, READ_ROWS):
            stop = min(start + READ_ROWS, written)
            begin, end = start % self.size, (stop - 1) % self.size + 1
            if begin < end:
                yield from self.rows[begin:end].tolist()
            else:
                yield from self.rows[begin:].tolist()
                yield from self.rows[:end].tolist()


def _told(number: float) -> float | None:
    return None if math.isnan(number) else number


_COMPILED: Final = (
    "the watched loss runs inside torch.compile and gives there what can't be read: several values, or a"
    " weight= that can't be compiled. Watch what is called from outside the compiled code, as in"
    " lossboard.watch(torch.compile(model)), or compile the model without the loss."
)
