"""Loss values that can't be read when the hook sees them: on an accelerator, or inside torch.compile.

Nothing here is read by another thread: hooks, epoch changes and the finish collect what
has arrived. torch is the script's own, handed in by its tensors.
"""

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

MAX_WAITING: Final = 256  # calls: what a kill may cost, as the design promises
MAX_WAITING_S: Final = 1.0
MAX_IN_FLIGHT: Final = 16  # copies; launch queues hold about 1,000 kernels, so this is never met in health
POLL_INTERVAL_S: Final = 0.001
RING_ROWS: Final = 65_536  # steps between two readings of a compiled loss
RING_COLUMNS: Final = 8  # loss, weight, rows, window, split, unit, reduction, dtype: 4 MiB in all

Arrive = Callable[..., None]
"""What is called with a put's numbers once they are on the host."""


class DeviceBuffer:
    """Carry numbers from an accelerator to the host without ever waiting for it.

    A call costs one copy on the device for each number. Every 256 calls or 1 s they travel
    as one asynchronous copy into pinned memory; an event tells a later call that they
    arrived.
    """

    def __init__(self, drop: Callable[[int], None]) -> None:
        self._drop = drop
        self._waiting: list[tuple[Arrive, tuple[Any, ...]]] = []
        self._due = 0.0  # when the waiting ones travel, however few
        self._in_flight: deque[tuple[list[tuple[Arrive, tuple[Any, ...]]], Any, Any]] = deque()
        self._device: Any = None

    def put(self, arrive: Arrive, *numbers: Any) -> None:
        """Take numbers, some of them tensors of one; hand over what has arrived of earlier ones.

        The first is a tensor, and its device is where the others are brought to.
        """
        torch = sys.modules["torch"]
        first = numbers[0]
        if first.is_cuda and torch.cuda.is_current_stream_capturing():
            self._drop(1)  # a captured copy would only run on replay, where no hook does
            return
        if self._waiting and self._device != first.device:
            self._send()
        self._device = first.device
        # MPS knows no float64.
        kind = torch.float32 if first.is_mps else torch.float64
        # A copy even where nothing changes: the script's `loss /= k` works in place.
        copies = tuple(
            number.detach().to(device=first.device, dtype=kind, copy=True, non_blocking=True)
            if isinstance(number, torch.Tensor)
            else number
            for number in numbers
        )
        self._waiting.append((arrive, copies))
        now = time.monotonic()
        if len(self._waiting) >= MAX_WAITING or now >= self._due:
            self._send()
            self._due = now + MAX_WAITING_S
        self.collect()

    def collect(self) -> None:
        """Hand over every copy that has arrived, without waiting."""
        while self._in_flight and _has_arrived(self._in_flight[0][2]):
            rows, host, _ = self._in_flight.popleft()
            arrived = iter(host.tolist())
            for arrive, numbers in rows:
                arrive(*(next(arrived) if hasattr(number, "item") else number for number in numbers))

    def flush(self, deadline_s: float) -> None:
        """Hand over everything, waiting no longer than `deadline_s`; drop and count the rest."""
        self._send()
        end = time.monotonic() + deadline_s
        self.collect()
        while self._in_flight and time.monotonic() < end:
            time.sleep(POLL_INTERVAL_S)
            self.collect()
        self._drop(sum(len(rows) for rows, _, _ in self._in_flight))
        self._in_flight.clear()

    def _send(self) -> None:
        if not self._waiting:
            return
        torch = sys.modules["torch"]
        rows, self._waiting = self._waiting, []
        with torch.no_grad():
            packed = torch.stack(
                [number.reshape(()) for _, numbers in rows for number in numbers if hasattr(number, "item")]
            )
            if not packed.is_cuda:
                # Elsewhere an asynchronous copy to the host is not safe to read (MPS returns garbage).
                self._in_flight.append((rows, packed.cpu(), None))
                return
            host = torch.empty(packed.shape, dtype=packed.dtype, pin_memory=True)
            host.copy_(packed, non_blocking=True)
            event = torch.cuda.current_stream(packed.device).record_event()
        self._in_flight.append((rows, host, event))
        if len(self._in_flight) > MAX_IN_FLIGHT:
            self._drop(len(self._in_flight.popleft()[0]))


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

    def take(self, drop: Callable[[int], None]) -> Iterator[list[float]]:
        """Yield the rows written since the last time, oldest first; overwritten ones are dropped.

        Waits for the device where compiled calls write to it, and only there.
        """
        if not self.is_used():
            return
        written = int(self.at.item())
        if written == self._taken:
            return
        first = max(self._taken, written - self.size)
        drop(first - self._taken)
        self._taken = written
        for start in range(first, written, MAX_WAITING):
            stop = min(start + MAX_WAITING, written)
            begin, end = start % self.size, (stop - 1) % self.size + 1
            if begin < end:
                yield from self.rows[begin:end].tolist()
            else:
                yield from self.rows[begin:].tolist()
                yield from self.rows[:end].tolist()


def _has_arrived(event: Any) -> bool:
    return event is None or bool(event.query())
