"""Loss values on an accelerator, where no hook may read them: copied together, handed over on arrival.

No other thread reads them: hooks, epoch changes and the finish collect what has arrived.
"""

import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Final, NamedTuple

MAX_WAITING: Final = 256  # calls: what a kill may cost, as the design promises
MAX_WAITING_S: Final = 1.0
MAX_IN_FLIGHT: Final = 16  # copies; launch queues hold about 1,000 kernels, so this is never met in health
POLL_INTERVAL_S: Final = 0.001
PINNED_NUMBERS: Final = 1024  # of 8 bytes, in one copy: 256 calls of up to four numbers

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
