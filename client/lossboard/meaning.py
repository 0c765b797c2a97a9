"""What a call of a watched loss means: its reduction, its weight and that weight's unit, its items."""

from collections.abc import Iterable, Mapping
from typing import Any

from lossboard import weights


class Meaning:
    """The meaning of one watched loss, settled by its first call.

    `declared` is the weight that the script states: a number, or a function of the loss's
    own arguments. `loader_batch` is the batch size that the watched loader states, `last_batch`
    the items of its last batch where they are fewer.
    """

    def __init__(
        self, loss_func: Any, declared: Any, loader_batch: int | None, last_batch: int | None = None
    ) -> None:
        self._declared = declared
        self._known = weights.rule_for(loss_func)
        self._rule = self._known if declared is None else None
        self._reduction = _reduction_of(loss_func)
        self._loader_batch = loader_batch
        self._last_batch = last_batch
        self._rows_per_item = 1
        self._settled: tuple[str, str, str] | None = None

    def is_vector(self, value: Any) -> bool:
        """Whether a loss tensor still holds one value for each item or element."""
        return self._reduction == "none" or value.numel() != 1

    def weigh(self, module: Any, args: Any, kwargs: Any) -> tuple[Any, int | None]:
        """Return weight and rows, the leading dimension; weight None: the batch size stands for it."""
        if self._rule is not None:
            return self._rule(module, *weights.operands(args, kwargs))
        weight = self._declared
        if callable(weight):
            weight = weight(*args, **kwargs)
            weight = weight.detach() if hasattr(weight, "detach") else weight
        return weight, _leading((*args, *kwargs.values()))

    def unit(self, module: Any, args: Any, kwargs: Any) -> str:
        """Return what the weight of such a call counts."""
        if self._known is None:
            return "items"
        return weights.unit_for(self._known, module, *weights.operands(args, kwargs))

    def items(self, split: str, rows: int | None) -> int | None:
        """Return the items in so many rows: language models flatten batch × length into one dimension."""
        size = self._loader_batch
        # A validation loader has a batch size of its own, so only training tells.
        if size is not None and split == "train":
            if rows is None:
                return size
            if self._last_batch is not None and rows == self._last_batch * self._rows_per_item:
                return self._last_batch  # else 20 × 128 tokens would be taken for 32 × 80
            if rows > size and rows % size == 0:
                self._rows_per_item = rows // size
        each = self._rows_per_item
        return rows if each == 1 or rows is None or rows % each else rows // each

    def settle(self, unit: str, is_vector: bool, told_reduction: Any) -> tuple[str, str, str]:
        """Return reduction, weight unit and weight source; the first call decides for good.

        `told_reduction` is the keyword that functional losses take.
        """
        if self._settled is None:
            source = "exact" if self._rule else "assumed" if self._declared is None else "declared"
            reduction = told_reduction if told_reduction in ("mean", "sum") else self._reduction
            if is_vector:
                reduction, source = "mean", "assumed"
            elif unit == "items" and self._known and self._rows_per_item > 1:
                unit = "tokens"
            self._settled = reduction, unit, source
        return self._settled


def mean_of(value: Any) -> tuple[Any, int, int]:
    """Return mean, number and rows of a loss that was not reduced."""
    # Not in float16: its sum ends at 65504. Apple's MPS has no float64.
    wide = value.float() if value.is_mps else value.double()
    return wide.mean(), value.numel(), value.shape[0] if value.dim() else 1


def vector_unit(rows: int | None, elements: Any) -> str:
    """Return what the weight of a loss that was not reduced counts."""
    return "items" if rows == elements else "elements"


def _reduction_of(loss_func: Any) -> str:
    loss_func = getattr(loss_func, "_orig_mod", loss_func)  # torch.compile wraps
    told = getattr(loss_func, "reduction", None) or getattr(loss_func, "keywords", {}).get("reduction")
    # KLDivLoss's batchmean is a mean over the items; what says nothing is taken for a mean.
    return told if told in ("sum", "none") else "mean"


def _leading(values: Iterable[Any]) -> int | None:
    """Return the leading dimension of the first tensor, looking one level into lists and dicts."""
    for value in values:
        parts = value.values() if isinstance(value, Mapping) else value
        for part in parts if isinstance(value, Mapping | list | tuple) else (value,):
            if getattr(part, "shape", None):
                return int(part.shape[0])
    return None
