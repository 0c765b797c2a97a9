"""Loss values that can't be read when the hook sees them: on an accelerator, or inside torch.compile.

Nothing here is read by another thread: hooks, epoch changes and the finish collect what
has arrived. torch is the script's own, handed in by its tensors.
"""

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any, Final, NamedTuple

MAX_WAITING: Final = 256  # calls: what a kill may cost, as the design promises
MAX_WAITING_S: Final = 1.0
MAX_IN_FLIGHT: Final = 16  # copies; launch queues hold about 1,000 kernels, so this is never met in health
POLL_INTERVAL_S: Final = 0.001
PINNED_NUMBERS: Final = 1024  # of 8 bytes, in one copy: 256 calls of up to four numbers
RING_ROWS: Final = 65_536  # steps between two readings of a compiled loss
RING_COLUMNS: Final = 8  # loss, weight, rows, window, split, unit, reduction, dtype: 4 MiB in all

Arrive = Callable[..., None]
"""What is called with a put's numbers once they are on the host."""

Copy = Callable[[Any], tuple[Any, Any]]
"""Starts a tensor's way to the host: returns where it arrives, and the event that tells (None: at once)."""

CAPTURED: Final = (
    "the watched loss is captured in a CUDA graph: replaying it runs no hook, so nothing of it is recorded."
    " Log what the replay leaves, now and then: run.log(epoch, batch, loss.item(), batch_size)."
)
_TRAVELS: Final = object()  # in the place of a number that is on its way


class _Flight(NamedTuple):
    """What travels in one copy."""

    rows: list[tuple[Arrive, tuple[Any, ...]]]
    host: Any
    event: Any


class DeviceBuffer:
    """Carry numbers from an accelerator to the host without ever waiting for it.

    A call costs one copy on the device for each number. Every 256 calls or 1 s they travel
    as one asynchronous copy into pinned memory; an event tells a later call that they
    arrived. Where copies can't be asynchronous (MPS, others than CUDA) the device is waited
    for then, and only then.

    `drop(count, reason)` is told what will never arrive; `copy` is for tests without a device.
    """

    def __init__(self, drop: Callable[[int, str], None], copy: Copy | None = None) -> None:
        self._drop = drop
        self._copy = copy or _copy_to_host
        self._waiting: list[tuple[Arrive, tuple[Any, ...]]] = []
        self._tensors: list[Any] = []  # of the waiting ones, on the device, in their order
        self._due = 0.0  # when the waiting ones travel, however few
        self._in_flight: deque[_Flight] = deque()
        self._device: Any = None
        self._stream: Any = None  # that the waiting ones were computed in
        self._left_behind: tuple[Any, ...] = ()

    def put(self, arrive: Arrive, *numbers: Any) -> None:
        """Take numbers, some of them tensors; hand over what has arrived of earlier ones.

        The first is a tensor, and its device is where the others are brought to.
        """
        torch = sys.modules["torch"]
        first = numbers[0]
        if first.is_cuda:
            if torch.cuda.is_current_stream_capturing():
                self._drop(1, "cuda-graph")  # a captured copy would only run on replay, where no hook does
                return
            stream = torch.cuda.current_stream(first.device)
        else:
            stream = None
        if self._tensors and (self._device != first.device or self._stream != stream):
            self._send()  # one copy can be ordered behind one stream only
        self._device, self._stream = first.device, stream
        self._waiting.append((arrive, tuple([self._take(torch, number) for number in numbers])))
        now = time.monotonic()
        if len(self._waiting) >= MAX_WAITING or now >= self._due:
            self._send()
            self._due = now + MAX_WAITING_S
        self.collect()

    def send(self) -> None:
        """Let what waits travel now, and hand over what has arrived; nothing is waited for."""
        self._send()
        self.collect()

    def collect(self) -> None:
        """Hand over every copy that has arrived, without waiting.

        Raises: what the device or a receiver raised, after the rest was handed over or counted.
        """
        trouble: Exception | None = None
        for flight in tuple(self._in_flight):  # a slow device or stream does not hold up another one's
            try:
                if flight.event is not None and not flight.event.query():
                    continue
                arrived = iter(flight.host.tolist())
            except Exception as error:  # the device is lost, and with it what was on its way
                trouble = error
                self._in_flight.remove(flight)
                self._drop(len(flight.rows), "device-buffer")
                continue
            self._in_flight.remove(flight)
            for arrive, numbers in flight.rows:
                known = [next(arrived) if number is _TRAVELS else number for number in numbers]
                try:
                    arrive(*known)
                except Exception as error:  # of a strict run: the others are no less good
                    trouble = error
        if trouble is not None:
            raise trouble

    def flush(self, deadline_s: float) -> None:
        """Hand over everything, waiting no longer than `deadline_s`; drop and count the rest."""
        end = time.monotonic() + deadline_s
        try:
            self.send()
            while self._in_flight and time.monotonic() < end:
                time.sleep(POLL_INTERVAL_S)
                self.collect()
        finally:
            self._drop(sum(len(flight.rows) for flight in self._in_flight), "device-buffer")
            self._in_flight.clear()

    def forget(self) -> None:
        """In a forked child: what waits and travels is the parent's, and no device may be touched here."""
        # Kept, not freed: to free pinned memory asks its events, which needs the device.
        self._left_behind = (self._left_behind, self._tensors, self._in_flight)
        self._waiting, self._tensors, self._in_flight = [], [], deque()

    def _take(self, torch: Any, number: Any) -> Any:
        """Return what stands for a number until it arrives: itself where the host has it already."""
        if not isinstance(number, torch.Tensor):
            return number
        if number.is_cpu and self._device.type != "cpu":
            return number.item()
        # MPS knows no float64, and not every other device does.
        kind = torch.float64 if self._device.type in ("cuda", "cpu") else torch.float32
        # A copy even where nothing changes: the script's `loss /= k` works in place.
        copied = number.detach().to(device=self._device, dtype=kind, copy=True, non_blocking=True)
        self._tensors.append(copied.reshape(()))
        return _TRAVELS

    def _send(self) -> None:
        if not self._waiting:
            return
        torch = sys.modules["torch"]
        rows, self._waiting = self._waiting, []
        tensors, self._tensors = self._tensors, []
        try:
            # In the stream that computed them: in another one they might not be there yet.
            with torch.no_grad(), torch.cuda.stream(self._stream) if self._stream else nullcontext():
                host, event = self._copy(torch.stack(tensors))
        except BaseException:
            self._drop(len(rows), "device-buffer")
            raise
        self._in_flight.append(_Flight(rows, host, event))
        if len(self._in_flight) > MAX_IN_FLIGHT:
            self._drop(len(self._in_flight.popleft().rows), "device-buffer")


def _copy_to_host(packed: Any) -> tuple[Any, Any]:
    if not packed.is_cuda:
        # Elsewhere an asynchronous copy to the host is not safe to read (MPS returns garbage).
        return packed.cpu(), None
    torch = sys.modules["torch"]
    # One size for nearly all, so that torch's cache has it: to pin memory anew can hold up the device.
    # The device is named, since torch.set_default_device may have chosen another one.
    size = max(PINNED_NUMBERS, 1 << (packed.numel() - 1).bit_length())
    host = torch.empty(size, dtype=packed.dtype, device="cpu", pin_memory=True)[: packed.numel()]
    host.copy_(packed, non_blocking=True)
    return host, torch.cuda.current_stream(packed.device).record_event()


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
        for start in range(first, written, MAX_WAITING):
            stop = min(start + MAX_WAITING, written)
            begin, end = start % self.size, (stop - 1) % self.size + 1
            if begin < end:
                yield from self.rows[begin:end].tolist()
            else:
                yield from self.rows[begin:].tolist()
                yield from self.rows[:end].tolist()
