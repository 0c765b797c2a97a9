"""What the batches of an evaluation add up to: sums, and what they are divided by."""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from lossboard.meaning.meaning import Meaning
from lossboard.meaning.model_loss import is_model_output
from lossboard.meaning.weights import find_rule
from lossboard.watching.parts import find_total

POOL_ITEMS: Final = 32  # an unknown loss is probed on so many: smaller batches are put together


class Call(NamedTuple):
    """One call of a loss."""

    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    output: Any


class Tally:
    """The losses of an evaluation's batches; `is_model` where the model computes them itself."""

    def __init__(self, loss_func: Any, meaning: Meaning, *, is_model: bool) -> None:
        self.meaning = meaning
        self.items = 0
        self.weight = 0.0
        self.dtype: str | None = None
        self.described = ("mean", "items", "assumed")
        self._has_rule = find_rule(loss_func) is not None
        self._is_model = is_model
        self._is_settled = False
        self._pool: list[Call] = []
        self._pooled = 0
        self._measured: list[tuple[float, float]] = []  # value and weight of each batch
        self._last: tuple[Call, Any] | None = None

    def add(self, call: Call, items: int | None) -> None:
        """Add the loss of one batch.

        Raises: TypeError where the call returned no loss.
        """
        value: Any = _value_in(self.meaning, call.output)
        is_tensor = hasattr(value, "detach")
        value = value.detach() if is_tensor else float(value)
        if not self._is_settled:
            self._learn(call, value, items or 1)
        seen = self.meaning.read(call.args, call.kwargs, value)
        items = seen.rows or 1 if items is None else items
        weight = items if seen.weight is None else seen.weight
        window = 1.0 if seen.window is None else seen.window
        self._measured.append((float(seen.value) * float(window), float(weight)))
        self.items += items
        self._last = call, value
        self.dtype = str(value.dtype).removeprefix("torch.") if is_tensor else None

    def settle(self) -> None:
        """Find out what the loss does with a batch, from the batches that are kept for it."""
        if self._is_settled or not self._pool:
            return
        pool, self._pool, self._pooled = self._pool, [], 0
        self._is_settled = self.meaning.prepare(*_joined(pool))

    def result(self) -> float:
        """Return Σ weight × mean ÷ Σ weight of all batches.

        Raises: ValueError where nothing counts.
        """
        counted = [(value, weight) for value, weight in self._measured if weight]
        if not counted or self._last is None:
            raise ValueError("the loader gave no items that count in this loss")
        call, value = self._last
        seen = self.meaning.read(call.args, call.kwargs, value)  # again: more may be known by now
        reduction, unit, source = self.meaning.describe(call.args, call.kwargs, seen)
        is_sum = reduction in ("sum", "sum_over_window")
        self.described = "mean" if is_sum else reduction, unit, source
        self.weight = math.fsum(weight for _, weight in counted)
        return _sum([value if is_sum else value * weight for value, weight in counted]) / self.weight

    def _learn(self, call: Call, value: Any, items: int) -> None:
        if self._has_rule or (is_model_output(call.output) and self.meaning.source() != "declared"):
            self._is_settled = self.meaning.prepare(*call)
        elif self._is_model or (hasattr(value, "numel") and value.numel() != 1):
            self._is_settled = True  # a model is not called on parts, and a vector is averaged as it is
        else:
            self._pool.append(call)
            self._pooled += items
            if self._pooled >= POOL_ITEMS:
                self.settle()


def _value_in(meaning: Meaning, output: Any) -> Any:
    value = meaning.value_of(output)
    if value is None:
        parts = output._asdict() if hasattr(output, "_asdict") else output
        if isinstance(parts, Mapping):
            value = parts.get(find_total(parts))
        else:
            value = getattr(output, "loss", output)
    if hasattr(value, "detach") or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise TypeError(f"the loss returned {type(output).__name__}; evaluate needs one that returns a number")


def _joined(calls: Sequence[Call]) -> Call:
    """Put the batches of several calls together; where that can't be done, the first stands for all."""
    if len(calls) == 1:
        return calls[0]
    try:
        args = [_concatenate(values) for values in zip(*(call.args for call in calls), strict=True)]
        kwargs = {name: _concatenate([call.kwargs[name] for call in calls]) for name in calls[0].kwargs}
    except (TypeError, ValueError, KeyError, RuntimeError):
        return calls[0]
    return Call(args, kwargs, calls[0].output)


def _concatenate(values: Sequence[Any]) -> Any:
    if isinstance(values[0], Mapping):
        return {name: _concatenate([value[name] for value in values]) for name in values[0]}
    return sys.modules["torch"].cat(list(values))


def _sum(values: Sequence[float]) -> float:
    # fsum refuses infinities of both signs, and overflow.
    return math.fsum(values) if all(map(math.isfinite, values)) else sum(values)
