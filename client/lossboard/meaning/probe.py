"""What an unknown loss does with a batch: asked once, by calling it on parts of one.

Copies of the arguments and of what the loss is made of are called (`standins`), without
leaving anything changed (`disturbance`); the conclusions are drawn in `verdict`.
"""

import math
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from lossboard.meaning.disturbance import Dice, find_danger, uncompiled, undisturbed
from lossboard.meaning.portions import Batch
from lossboard.meaning.standins import Standins
from lossboard.meaning.verdict import Judge, Unclear

MAX_EVALUATION_S: Final = 1.0  # one that takes longer is the last; training waits meanwhile

# Relative error of a loss in each type: float64 sums of a probe's few items are good to 1e-15.
_NOISE: Final = {"float64": 1e-13, "float32": 3e-7, "float16": 2e-3, "bfloat16": 1.6e-2}


class Finding(NamedTuple):
    """What a loss does with a batch, in the wire's word for it.

    `reason` is a sentence for the user, `evaluations` how often the loss was called.
    """

    finding: str
    reason: str
    evaluations: int


def probe(loss_func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], weight: Any = None) -> Finding:
    """Find out whether a loss is a mean or a sum over the items of a batch, or neither.

    The batch, or up to 256 of its items, is cut into three parts, and the loss compared on
    them and on their unions. `weight` is the script's word for what the loss is divided
    by: a function of the loss's arguments is checked, a number can't be. Nothing is guessed:
    a batch that can't tell gives `not_probed` and the reason.

    Cost: 7 to 9 evaluations of at most 2 million numbers each, on the host.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        return Finding("not_probed", "Only losses of torch can be probed.", 0)
    trial = _Trial(torch, loss_func)
    try:
        danger = find_danger()
        if danger is not None:
            raise Unclear(danger)
        with _cutting():
            batch = Batch(args, kwargs)
        with warnings.catch_warnings(), uncompiled(), undisturbed() as dice:
            warnings.simplefilter("ignore")
            try:
                trial.begin(batch, dice)
                judge = Judge(trial.value, batch.sizes, trial.noise, trial.weigh(weight))
                verdict = judge.decide(trial.has_reacted)
                if verdict.finding == "mean" and batch.is_balanced():
                    raise Unclear("All parts of the batch weigh alike, but perhaps by chance.")
            finally:
                trial.restore_buffers()
                trial.forget()
    except Unclear as unclear:
        return Finding("not_probed", str(unclear), trial.evaluations)
    reason = verdict.reason
    if batch.items > batch.taken:
        reason += f" Told from {batch.taken} of the batch's {batch.items} items."
    return Finding(verdict.finding, reason, trial.evaluations)


class _Trial:
    """The evaluations of one probe."""

    def __init__(self, torch: Any, loss_func: Any) -> None:
        self.evaluations = 0
        self.noise = 0.0
        self._torch = torch
        self._loss_func = loss_func
        self._standins = Standins(None, is_double=False)
        self._batch: Any = None
        self._standin: Any = None
        self._values: dict[str, float] = {}
        self._buffers: dict[int, tuple[Any, Any]] = {}

    def begin(self, batch: Batch, dice: Dice) -> None:
        """Evaluate the whole batch twice, in the best way that works.

        Raises: Unclear where none does, or where the loss is random or has a memory.
        """
        self._batch = batch
        first = self._find_way()
        second = self._evaluate("ABC")
        if dice.have_fallen():
            raise Unclear("The loss draws random numbers, so two evaluations can't be compared.")
        if abs(first - second) > 4 * self.noise * abs(first):
            raise Unclear(
                f"The same batch gave {first:.6g} and then {second:.6g}: the loss is random or has a memory."
            )
        self._values["ABC"] = first

    def value(self, name: str) -> float:
        """Return the loss of a set of items, evaluating it at most once."""
        if name not in self._values:
            self._values[name] = self._evaluate(name)
        return self._values[name]

    def has_reacted(self) -> bool:
        """Whether the loss is another one, or fails, with other values of its arguments."""
        for amount in (3.0, -300.0):  # the far one leaves the reach of most clamps
            shaken = self._batch.shaken(amount)
            if shaken is None:
                return True  # nothing to shake: it can't be told
            try:
                value = self._call(*shaken)
            except Unclear:
                return True
            if not abs(value - self._values["ABC"]) <= 4 * self.noise * abs(value):
                return True
        return False

    def weigh(self, weight: Any) -> dict[str, float] | None:
        """Return what the script's own function says the parts weigh; None where it says nothing usable."""
        if not callable(weight):
            return None
        try:
            weigh = self._standins.of(weight)
            found = {}
            for name in ("A", "B", "C"):
                args, kwargs = self._batch.part(name)
                value = weigh(*args, **kwargs)
                found[name] = float(value.sum() if hasattr(value, "sum") else value)
        except Exception:  # it fails again, and is told, where a record is weighed
            return None
        return found

    def forget(self) -> None:
        """Keep nothing of the batch: a graph would live until the next garbage collection."""
        self._standins.forget()
        self._batch = self._standin = self._loss_func = None  # a class made here still knows this trial

    def restore_buffers(self) -> None:
        """Set back what modules that could not be copied keep count in."""
        for buffer, before in self._buffers.values():
            if not self._torch.equal(buffer, before):
                buffer.data.copy_(before)  # by .data, since a graph may hold the buffer at this version

    def _find_way(self) -> float:
        """Evaluate the batch in float64 on the host, where no index can harm a device; else as it is."""
        home = self._batch.device
        ways: list[tuple[str | None, bool]] = [("cpu", True), (None, False)]
        if home != "cpu":
            ways.insert(1, (None, True))
        refusal = Unclear("")
        for is_varied in (True, False) if self._batch.is_uniform else (False,):
            for device, is_double in ways:
                if device is None and home != "cpu" and (is_varied or not self._batch.is_plain):
                    continue  # an index out of range would stop the whole device
                try:
                    value = self._try(device, is_double, is_varied)
                except Unclear as unclear:
                    refusal = unclear
                    continue
                if math.isfinite(value) or not is_varied:
                    return value
        raise refusal

    def _try(self, device: str | None, is_double: bool, is_varied: bool) -> float:
        torch = self._torch
        self._standins.forget()
        self._standins = Standins(device, is_double=is_double)
        self._standin = self._standins.of(self._loss_func)
        if isinstance(self._loss_func, torch.nn.Module) and self._standins.originals:
            raise Unclear("The loss is a module that can't be copied, or is too large to be.")
        with _cutting():
            self._batch.prepare(self._standins, is_varied=is_varied)
        for buffer in (buffer for module in self._standins.originals for buffer in module.buffers()):
            self._buffers.setdefault(id(buffer), (buffer, buffer.clone()))
        self.noise = _NOISE["float64"]
        with self._precision():
            return self._evaluate("ABC")

    def _precision(self) -> Any:
        """Note, while the loss computes, whether it goes through a type that is coarser than float64."""
        torch, trial, taken = self._torch, self, self._batch.taken

        class Precision(torch.overrides.TorchFunctionMode):  # type: ignore[misc, name-defined]
            def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                result = func(*args, **(kwargs or {}))
                if isinstance(result, torch.Tensor) and result.dim() and result.shape[0] % taken == 0:
                    trial._note(result.dtype)
                return result

        return Precision()

    def _note(self, kind: Any) -> None:
        self.noise = max(self.noise, _NOISE.get(str(kind).removeprefix("torch."), 0.0))

    def _evaluate(self, name: str) -> float:
        with _cutting():
            args, kwargs = self._batch.part(name)
        return self._call(args, kwargs)

    def _call(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> float:
        self.evaluations += 1
        started = time.monotonic()
        try:
            output = self._standin(*args, **kwargs)
        except Exception as error:
            said = str(error).strip().partition("\n")[0][:160]
            raise Unclear(f"On a part of the batch the loss raised {type(error).__name__}: {said}") from None
        value = self._read(output)
        taken_s = time.monotonic() - started
        if taken_s > MAX_EVALUATION_S:
            raise Unclear(f"One evaluation took {taken_s:.1f} s, and training would wait for eight.")
        return value

    def _read(self, output: Any) -> float:
        torch = self._torch
        if type(output) in (torch.Tensor, torch.nn.Parameter):
            if output.numel() != 1:
                raise Unclear(f"The loss returns {output.numel()} values, not one.")
            if output.is_floating_point():
                self._note(output.dtype)
                return float(output)
        elif isinstance(output, int | float) and not isinstance(output, bool):
            return float(output)
        raise Unclear(f"The loss returns {type(output).__name__}, not one number.")


@contextmanager
def _cutting() -> Iterator[None]:
    try:
        yield
    except Unclear:
        raise
    except Exception as error:  # a mapping that can't be filled, a tensor of a kind that can't be cut
        raise Unclear(f"The arguments can't be cut into parts: {error}"[:200]) from None
