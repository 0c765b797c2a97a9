"""What a Keras model's loss was divided by, and so what one batch's value means."""

import math
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

_REDUCTIONS: Final = {
    "sum_over_batch_size": "mean",
    "mean": "mean",
    "mean_with_sample_weight": "mean",
    "sum": "sum",
}
_OVER_CLASSES: Final = (
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
    "categorical_focal_crossentropy",
)


class Heard(NamedTuple):
    """One call of `compute_loss`.

    `batch` holds x, y, y_pred and sample_weight as Keras passed them. `values` is the shape
    of the one loss before it was reduced, None where that was not seen or is not all of the
    model's loss; `mask` the mask over it.
    """

    model: Any
    loss: Any
    batch: dict[str, Any]
    values: tuple[int, ...] | None = None
    mask: Any = None


class Division(NamedTuple):
    """What a batch's loss means: (reduction, unit, source) as a series declares them, and the weight.

    `weight` is a number, or a tensor of one number on the loss's device; None: the items stand for it.
    """

    meaning: tuple[str, str, str]
    weight: Any
    items: int | None


def losses_of(model: Any) -> list[Any]:
    """Return the loss objects that a model was compiled with, as far as they are built."""
    compiled = getattr(model, "_compile_loss", None)
    entries = getattr(compiled, "_flat_losses", None) or getattr(compiled, "flat_losses", None) or ()
    losses = [getattr(entry, "loss", entry) for entry in entries]  # named tuples since 3.7
    return [loss for loss in losses if loss is not None]


def reduction_of(losses: list[Any]) -> str:
    """Return the reduction that all these losses share; unknown where they differ."""
    found = {_REDUCTIONS.get(getattr(loss, "reduction", None) or "", "unknown") for loss in losses}
    return found.pop() if len(found) == 1 else "unknown" if found else "mean"


def divide(heard: Heard) -> Division:
    """Say what a loss that was heard means.

    Where the denominator can't be seen, the items of the batch are assumed for it, since
    that is what Keras's losses divide by unless they are told otherwise.
    """
    items = items_of(heard.batch)
    losses = losses_of(heard.model)
    reduction = reduction_of(losses)
    found = None
    if heard.values and reduction != "unknown":
        found = _weigh(losses[0].reduction, heard, math.prod(heard.values))
    if found is None:
        return Division((reduction, "items", "assumed" if reduction != "unknown" else "unknown"), None, items)
    weight, is_sum_of_weights = found
    if is_sum_of_weights:
        unit = "class_weight"
    elif math.prod(heard.values or ()) == items:
        unit = "items"
    else:
        name = getattr(getattr(losses[0], "fn", None), "__name__", "")
        unit = "tokens" if heard.mask is not None or name in _OVER_CLASSES else "elements"
    return Division((reduction, unit, "exact"), weight, items)


def items_of(batch: Mapping[str, Any]) -> int | None:
    """Return the items of a batch: the leading dimension of the first tensor of x, as Keras counts."""
    for name in ("x", "y_pred", "y"):
        for part in _flatten(batch.get(name)):
            if getattr(part, "shape", None):
                return int(part.shape[0])
    return None


def _weigh(reduction: str, heard: Heard, size: int) -> tuple[Any, bool] | None:
    """Return the denominator, and whether it is a sum of sample weights; None where it can't be seen."""
    weights = [part for part in _flatten(heard.batch.get("sample_weight")) if part is not None]
    mask = heard.mask
    if len(weights) > 1 or (weights and math.prod(weights[0].shape) > size):
        return None  # broadcast to more values than the loss has
    if reduction == "mean_with_sample_weight" and (weights or mask is not None):
        if mask is not None and weights:
            if math.prod(mask.shape) != math.prod(weights[0].shape):
                return None
            return _add_up(weights[0].reshape(mask.shape) * mask), True
        return _add_up(weights[0] if weights else mask), bool(weights)
    # Weights scale the numerator only: Keras goes on dividing by the number of values.
    if mask is None:
        return size, False
    covered = math.prod(mask.shape)
    kept = _add_up(mask)
    return (kept if covered == size else kept * (size / covered)), False


def _add_up(values: Any) -> Any:
    # In float64: a float32 sum of 2^24 weights of 1 stands still. Apple's MPS has none.
    torch = sys.modules["torch"]
    values = torch.as_tensor(values).detach()
    return values.sum(dtype=torch.float32 if values.is_mps else torch.float64)


def join_masks(y_pred: Any, mask: Any) -> Any:
    """Return the mask that Keras makes of the prediction's and the loss's own (`ignore_class`)."""
    carried = getattr(next(_flatten(y_pred), None), "_keras_mask", None)
    return carried if mask is None else mask if carried is None else carried & mask


def _flatten(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, list | tuple):
        for part in value:
            yield from _flatten(part)
    else:
        yield value
