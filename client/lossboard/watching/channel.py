"""One loss value's way from a call that was seen to the journal: what it means, where it stands."""

import math
import time
from collections import deque
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from lossboard import wire
from lossboard.meaning.meaning import Meaning, Seen
from lossboard.meaning.verdict import CONTRADICTED
from lossboard.watching.backward import Backward
from lossboard.watching.deferred import DeviceBuffer
from lossboard.watching.steps import StepClock

_PLAIN: Final = ("mean", "sum")  # findings that leave nothing to say
_FOUND: Final = {
    "mean": " is a mean over the items of a batch",
    "sum": " is a sum over the items of a batch",
    "mean_weighted": " divides by weights that can't be seen, so items stand for them",
    "batch_coupled": " couples the items of a batch, so there is no mean per item to compare runs by",
    "non_linear": " is neither a mean nor a sum over the items: there is no mean per item to compare runs by",
    "constant": " does not depend on the items of a batch",
    "not_probed": " could not be probed and is taken for a mean over the items of a batch",
}


class Channel:
    """The series, one for each split, that one value of a watched loss is recorded in.

    A loss that returns several values has a channel for each.
    """

    def __init__(
        self,
        run: Any,
        name: str,
        meaning: Meaning,
        buffer: DeviceBuffer,
        clock: StepClock,
        expected: int | None,
    ) -> None:
        self.meaning = meaning
        self.names = {split: f"{split}/{name}" for split in ("train", "val")}
        self.backward = Backward(self._tell_divisor, run._scaling)
        self.last: float | None = None
        """The value of the newest call, where it could be read at once."""
        self.is_settled = False
        """Nothing more is to be learnt from a call about what it means."""
        self.numbers: dict[tuple[str, str], int] = {}
        """The journal's numbers of series, by split and reduction."""
        self._run = run
        self._position = run._position
        self._buffer = buffer
        self._clock = clock
        self._expected = expected
        # Gradients on a device, which autograd's thread left there, with the marks of their evaluations.
        self._late: deque[tuple[Any, Any]] = deque()

    def record(self, split: str, args: Any, kwargs: Mapping[str, Any], output: Any, value: Any) -> None:
        """Record one evaluation: `value` is its tensor, still in the graph, or a number."""
        if not self.is_settled:
            self._settle(args, kwargs, output, value)
        step = self._clock.count or self._clock.before_first()
        is_tensor = type(value) is not float
        try:
            seen = self.meaning.read(args, kwargs, value)
        except Exception as error:
            seen = self._read_undeclared(args, kwargs, output, value, error)
        # Read at once: `loss /= k` in place would change what is kept.
        number = seen.value.item() if is_tensor and seen.value.is_cpu else None
        if split == "train" and is_tensor and self.backward.is_curious and value.requires_grad:
            self.backward.observe(value, step, self._late.append)
        items = self.meaning.items(split, seen.rows)
        series = self.numbers.get((split, seen.reduction))
        if series is None:
            series = self._declare(split, seen, args, kwargs, value if is_tensor else None)
        place = self.place(split, series, items, step)
        if number is not None:
            self.last = number
            weight = seen.weight
            weight = weight if weight is None or type(weight) is int else _host(weight)
            self.write(place, None, number, weight, seen.window)
        elif is_tensor:
            self._defer(place, seen)
        else:
            self.write(place, None, value, _host(seen.weight), seen.window)

    def place(self, split: str, number: int, items: int | None, step: int | None) -> tuple[Any, ...]:
        """Take the position of a record: where training stands is fixed when the hook runs."""
        if split == "train":
            epoch, batch = self._position.train_record(self.names["train"])
            if epoch < 0:
                self._run._warn("epoch-undeclared", _OTHER if self._position.is_observed else _UNDECLARED)
            elif self._position.is_forsaken:
                self._run._warn("epoch-forsaken", _FORSAKEN)
            return number, epoch, batch, items, 0, step
        epoch, pass_no, batch = self._position.val_record(self.names["val"])
        return number, epoch, batch, items, pass_no, step

    def write(
        self, place: tuple[Any, ...], at: float | None, value: float, weight: Any, window: Any = None
    ) -> None:
        """Append a record whose numbers are on the host; `at` is when it was seen, None for now."""
        number, epoch, batch, items, pass_no, step = place
        if items == 0 and math.isfinite(value):
            self._run._count("empty-batch")  # a sum over nothing is 0 and measures nothing
            return
        if weight is not None and not 0 <= weight < math.inf:
            self._run._refuse(
                wire.RecordError("weight", f"must be finite and at least 0, not {weight!r:.40}")
            )
            return
        window = None if window is None else float(window)
        self._run._append(number, epoch, batch, value, items, weight, pass_no, None, step, window, time=at)

    def number_of(self, split: str, reduction: str, unit: str, dtype: str | None) -> int:
        """Return the journal's number of a series whose calls were compiled."""
        number = self.numbers.get((split, reduction))
        if number is None:
            number = self._run._outlet.number_of(self.names[split], reduction, unit, self.meaning.source())
            self.numbers[split, reduction] = number
            self._run._outlet.tell(self.names[split], dtype=dtype)
            self._tell_expected(split)
        return number

    def _defer(self, place: tuple[Any, ...], seen: Seen) -> None:
        while self._late:
            mark, gradient = self._late.popleft()
            self._buffer.put(partial(self.backward.arrive, mark), gradient)
        self._buffer.put(partial(self.write, place, time.time()), seen.value, seen.weight, seen.window)

    def _declare(self, split: str, seen: Seen, args: Any, kwargs: Any, value: Any) -> int:
        if self.meaning.is_vector:
            self._run._warn("vector-loss", _VECTOR)
        reduction, unit, source = self.meaning.describe(args, kwargs, seen)
        name = self.names[split]
        number: int = self._run._outlet.number_of(name, reduction, unit, source)
        self.numbers[split, seen.reduction] = number
        dtype = None if value is None else str(value.dtype).removeprefix("torch.")
        broadcast = self.meaning.broadcast(args, kwargs)
        if broadcast is not None:
            self._run._warn("broadcast", f"{broadcast}: the loss compares every one with every other.")
        finding = None if self.meaning.finding is None else self.meaning.finding.finding
        known = dtype if dtype in wire.DTYPES else None
        self._run._outlet.tell(name, dtype=known, broadcast=broadcast, finding=finding)
        self._tell_expected(split)
        return number

    def _tell_expected(self, split: str) -> None:
        if split == "train":
            self._run._outlet.tell(self.names["train"], dataset_items=self._expected)

    def _settle(self, args: Any, kwargs: Any, output: Any, value: Any) -> None:
        self.is_settled = type(value) is float or self.meaning.prepare(args, kwargs, output)
        self.numbers.clear()  # more may be known now than was declared
        finding = self.meaning.finding
        if not self.is_settled or finding is None:
            return
        is_declared = finding.finding == "mean_weighted" and self.meaning.source() == "declared"
        is_plain = is_declared or finding.finding in _PLAIN
        if not is_plain or finding.reason.endswith(CONTRADICTED):
            name = self.names["train"]
            self._run._warn(f"finding-{name}", f"{name}{_FOUND[finding.finding]}. {finding.reason}")

    def _read_undeclared(
        self, args: Any, kwargs: Mapping[str, Any], output: Any, value: Any, error: Exception
    ) -> Seen:
        """Read a call whose weight= fails, now and from now on as if there were none."""
        if not self.meaning.is_asking:
            raise error
        said = f"weight= of {self.names['train']} is not asked any more, since it failed: {error!r:.200}"
        self._run._faults.take(f"weight-{self.names['train']}", error, said, "weight-failed")
        self.meaning.undeclare()
        self._settle(args, kwargs, output, value)
        return self.meaning.read(args, kwargs, value)

    def _tell_divisor(self, divisor: float, per_step: int) -> None:
        name = self.names["train"]
        self._run._outlet.tell(name, divided_by=divisor)
        if divisor == per_step and per_step > 1:
            message = f"each {name} is divided by {per_step} before backward, over {per_step} batches a step"
        else:
            message = f"{name} is multiplied by {1 / divisor:.6g} before backward"
        self._run._warn(f"divisor-{name}", f"{message}. The board has the loss as it was before that.")


def _host(number: Any) -> Any:
    return number.item() if hasattr(number, "item") else number


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
    " if you weight or mask them before backward, that is another number: pass weight=, or call run.log."
)
