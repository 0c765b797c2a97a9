"""The loss of a model on all items of a loader: a full pass without updates, whatever the batch size."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lossboard.faults import guard
from lossboard.logged import next_call

if TYPE_CHECKING:
    from lossboard.weights import Weight


def evaluate(model: Any, loss_func: Any, loader: Iterable[Any]) -> float:
    """Return the loss per item of `model` over everything in `loader`, without updating anything.

    Each batch counts by what its mean was divided by, so the batch size makes no
    difference. A batch is (inputs, targets) or a mapping of the two in that order. The
    model's mode and torch's random numbers are afterwards what they were. When a run is
    open, the result is recorded in its split `eval`.

    Raises: ValueError where the loader gives nothing to weigh, TypeError for batches of
    another form.
    """
    from lossboard.starting import active_run

    run = active_run()
    call = _unwatched(loss_func, run)
    total = divided_by = 0.0
    items = 0
    last: Weight | None = None
    with _undisturbed(model):
        for batch in loader:
            inputs, targets = (_move(part, model) for part in _halves(batch))
            args = (model(inputs), targets)
            mean, last = _measure(loss_func, args, call(*args))
            total += mean * last.weight if last.weight else 0.0
            divided_by += last.weight
            items += last.items
    if not divided_by or last is None:
        raise ValueError("the loader gave no items that count in this loss")
    result = total / divided_by
    if run is not None:
        _record(run, result, last._replace(weight=divided_by, items=items))
    return result


def _measure(loss_func: Any, args: tuple[Any, Any], output: Any) -> "tuple[float, Weight]":
    """Return the mean of one batch and what it was divided by."""
    from lossboard.weights import Weight, weigh

    found = weigh(loss_func, args, {}, output)
    if found is None:
        items = len(args[1]) if getattr(args[1], "ndim", 0) else 1
        parts = output.numel() if hasattr(output, "numel") else 1
        found = Weight(parts if parts > 1 else items, "items", "assumed", items)
        is_sum = parts > 1
    else:
        is_sum = False
    weight = float(found.weight)
    value = float(output.double().sum()) if hasattr(output, "double") else float(output)
    if (is_sum or getattr(loss_func, "reduction", "mean") == "sum") and weight:
        value /= weight
    return value, found._replace(weight=weight)


@contextmanager
def _undisturbed(model: Any) -> Iterator[None]:
    """Evaluate without gradients; afterwards every part trains or not as before, and dice fall as before.

    A shuffling loader draws from torch's generator, so an evaluation in mid-training would
    otherwise change all batches that come after it.
    """
    torch = sys.modules["torch"]  # the model is torch's, so it is loaded
    modes = [(part, part.training) for part in model.modules()]
    dice = torch.get_rng_state()
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_rng_state(dice)
        for part, is_training in modes:
            part.training = is_training


def _unwatched(loss_func: Any, run: Any) -> Any:
    """Return the loss without our hook, which would record this pass as a validation."""
    if run is not None and run.loss is not None and loss_func is run.loss:
        return loss_func.__wrapped__
    return getattr(loss_func, "forward", loss_func)


def _halves(batch: Any) -> tuple[Any, Any]:
    parts = list(batch.values()) if isinstance(batch, Mapping) else batch
    if not isinstance(parts, list | tuple) or len(parts) != 2:
        raise TypeError("evaluate needs batches of (inputs, targets), or a mapping of these two")
    return parts[0], parts[1]


def _move(part: Any, model: Any) -> Any:
    first = next(model.parameters(), None)
    return part.to(first.device) if first is not None and hasattr(part, "to") else part


def _record(run: Any, result: float, weight: "Weight") -> None:
    with guard(run):
        number = run._series_number("eval/loss", "mean", weight.unit, weight.source)
        epoch, batch = next_call(run, "eval/loss")
        run._append(number, epoch, batch, result, weight.items, weight.weight, call=None)
