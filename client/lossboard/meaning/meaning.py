"""What a call of a watched loss means: its reduction, its weight and that weight's unit, its items."""

import sys
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lossboard.meaning import weights
from lossboard.meaning.model_loss import ModelLoss, is_known_model, is_model_output

if TYPE_CHECKING:
    from lossboard.meaning.probe import Finding

# In batches of 7 class weights of 0.2, 0.5, 1, 2 and 3 balanced in all parts of 1 of 4,000 by chance; in
# batches of this size in none of 400,000.
FEW_ITEMS: Final = 24
MAX_PROBES: Final = 3  # batches tried: the first may be too small or too plain to tell anything

_NO_MEAN: Final = ("non_linear", "batch_coupled", "constant")


class Seen(NamedTuple):
    """One evaluation as its call tells it.

    `value` is a number or a tensor of one, `weight` likewise and in the meaning's unit;
    None: the batch size stands for it. `rows` is the leading dimension of what was
    compared. `window` is what a sum was divided by instead of its own weight.
    """

    value: Any
    weight: Any
    rows: int | None
    reduction: str
    window: Any = None


class Meaning:
    """The meaning of one watched loss, settled by its first calls.

    `loss_func` None: it can't be asked about parts of a batch.
    `declared` is the weight that the script states: a number, or a function of the loss's
    own arguments. `loader_batch` is the batch size that the watched loader states,
    `last_batch` the items of its last batch where they are fewer.
    """

    def __init__(
        self, loss_func: Any, declared: Any, loader_batch: int | None, last_batch: int | None = None
    ) -> None:
        self.finding: Finding | None = None
        self.is_vector = False  # a plain mean over what was not reduced, for want of a rule
        self._loss_func = loss_func
        self._declared = declared
        self._known = weights.find_rule(loss_func)
        self.rule = self._known if declared is None else None
        """What weighs each call, where the loss is known and the script declares no weight."""
        is_model = declared is None and self._known is None and is_known_model(loss_func)
        self._model_loss = ModelLoss(loss_func) if is_model else None
        self._told = _reduction_of(loss_func)
        self._reduction = self._known.reduction({}) if self._known else self._told or "mean"
        self._probes = 0
        self._loader_batch = loader_batch
        self._last_batch = last_batch
        self._rows_per_item = 1

    def value_of(self, output: Any) -> Any:
        """Return the loss tensor in what a call returned; None where there is none."""
        if self._known is not None:
            return self._known.value(output)
        if not is_model_output(output):
            return None
        if self._model_loss is None and self._declared is None:
            self._model_loss = ModelLoss()
        return output.loss

    def loss_in(self, output: Any) -> Any:
        """Return the loss in what a call returned that torch.compile traces; None where there is none.

        Only what is known before the first call is looked into: compiling may fail at anything else.
        """
        if self._known is not None:
            return self._known.value(output)
        return None if self._model_loss is None else getattr(output, "loss", None)

    def prepare(self, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> bool:
        """Learn what can be learnt from a call that no rule explains; return whether that is all.

        A loss that a model computes is compared with its own logits and labels; any other
        callable is asked about parts of this batch (`probe`).
        """
        if self.rule is not None:
            return True
        if self._model_loss is not None:
            self._model_loss.settle(args, kwargs, output)
            return True
        if self._known is not None or self._loss_func is None:
            return True
        self._probes += 1
        from lossboard.meaning.probe import probe  # late: most losses explain themselves

        found = probe(_inside(self._loss_func), args, kwargs, self._declared)
        if self.finding is None or found.finding != "not_probed":
            self.finding = found
        word = self.finding.finding
        if word == "sum":
            self._reduction = "sum"
        elif word in _NO_MEAN or (word == "not_probed" and self._told == "unknown"):
            self._reduction = "unknown"
        elif self._told not in ("sum", "none"):
            self._reduction = "mean"
        # In a small batch items that weigh differently may weigh alike in all its parts by chance.
        is_doubtful = word == "mean" and self._probes == 1 and (_leading_of(args, kwargs) or 0) < FEW_ITEMS
        return self._probes >= MAX_PROBES or not (is_doubtful or word == "not_probed")

    @property
    def is_asking(self) -> bool:
        """Whether a function of the script is asked for each weight."""
        return callable(self._declared)

    def undeclare(self) -> None:
        """Go on as if the script had declared no weight: its function gives none."""
        self._declared, self.rule = None, self._known

    def read(self, args: Any, kwargs: Any, value: Any) -> Seen:
        """Read one call; `value` is its loss tensor or a number."""
        if self.rule is not None:
            weight, rows = self.rule.weigh(args, kwargs, value)
            reduction = self.rule.reduction(kwargs, args)
            if reduction == "none" or (type(value) is not float and value.numel() != 1):
                # Ignored targets are 0 in it and class weights multiplied in: this is what
                # reduction='mean' would have returned.
                return Seen(_widen(value).sum() / weight, weight, rows, "mean")
            return Seen(value, weight, rows, reduction)
        if self._model_loss is not None:
            kept, rows_of_labels = self._model_loss.weigh(args, kwargs)
            window = None if kept is None else self._model_loss.window(kwargs)
            reduction = "mean" if window is None else "sum_over_window"
            return Seen(value, kept, rows_of_labels, reduction, window)
        if _is_vector(value) or self._reduction == "none":
            return self._read_vector(args, kwargs, value)
        weight = self._declare(args, kwargs)
        if _is_tensor(weight) and weight.dim():
            weight = weight.sum()
        told = kwargs.get("reduction")
        reduction = told if told in ("mean", "sum") and self.finding is None else self._reduction
        return Seen(value, weight, _leading_of(args, kwargs), reduction)

    def unit(self, args: Any, kwargs: Any, seen: Seen) -> str:
        """Return what the weight of such a call counts."""
        if self._known is not None:
            return self._known.unit(args, kwargs)
        if self._model_loss is not None:
            return self._model_loss.unit()
        return "elements" if self.is_vector and seen.rows != seen.weight else "items"

    def describe(self, args: Any, kwargs: Any, seen: Seen) -> tuple[str, str, str]:
        """Return reduction, weight unit and weight source of a call that was read."""
        unit = self.unit(args, kwargs, seen)
        if unit == "items" and self._known and self._rows_per_item > 1:
            unit = "tokens"
        return seen.reduction, unit, self.source()

    def broadcast(self, args: Any, kwargs: Any) -> str | None:
        """Say how input and target were broadcast where that multiplies elements unawares."""
        return self._known.broadcast(args, kwargs) if self._known is not None else None

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

    def _read_vector(self, args: Any, kwargs: Any, value: Any) -> Seen:
        """Reduce what was not reduced: by declared weights, else as a plain mean, which is said."""
        wide, weight = _widen(value), self._declare(args, kwargs)
        rows = value.shape[0] if value.dim() else 1
        if _is_tensor(weight) and weight.dim():
            while weight.dim() < wide.dim():
                weight = weight.unsqueeze(-1)
            weight = weight.expand_as(wide).to(wide.dtype)
            return Seen((wide * weight).sum() / weight.sum(), weight.sum(), rows, "mean")
        if weight is not None:
            return Seen(wide.sum() / weight, weight, rows, "mean")
        self.is_vector = True
        return Seen(wide.mean(), value.numel(), rows, "mean")

    def _declare(self, args: Any, kwargs: Any) -> Any:
        weight = self._declared
        if callable(weight):
            weight = weight(*args, **kwargs)
            if _is_tensor(weight):
                return weight.detach()
            if not isinstance(weight, Real):
                raise TypeError(f"it returned {type(weight).__name__}, not a number")
        return weight

    def source(self) -> str:
        """Return where the weight comes from, in the wire's words."""
        if self._declared is not None:
            return "declared"
        if self.rule is not None:
            return "exact"
        if self._model_loss is not None:
            return "exact" if self._model_loss.is_exact else "assumed"
        if self.is_vector or self.finding is None or self.finding.finding == "not_probed":
            return "unknown" if self._reduction == "unknown" else "assumed"
        return "unknown" if self.finding.finding == "mean_weighted" else "probed"


def _is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _is_vector(value: Any) -> bool:
    return type(value) is not float and value.numel() != 1


def _widen(value: Any) -> Any:
    # Not in float16: its sum ends at 65504. Apple's MPS has no float64.
    value = value.detach()
    return value.float() if value.is_mps else value.double()


def _inside(loss_func: Any) -> Callable[..., Any]:
    """Return what torch.compile has wrapped: compiled code would be compiled anew for each part."""
    inner = getattr(loss_func, "_orig_mod", None) or getattr(loss_func, "_torchdynamo_orig_callable", None)
    return inner if callable(inner) else loss_func  # type: ignore[no-any-return]


def _reduction_of(loss_func: Any) -> str | None:
    """Return the reduction that an unknown loss states; "unknown" for a word that says nothing to us."""
    loss_func = getattr(loss_func, "_orig_mod", loss_func)
    told = getattr(loss_func, "reduction", None) or getattr(loss_func, "keywords", {}).get("reduction")
    if told is None or told == "batchmean":
        return None if told is None else "mean"
    return told if told in ("mean", "sum", "none") else "unknown"


def _leading_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> int | None:
    """Return the leading dimension of the first tensor, looking one level into lists and dicts."""
    for value in (*args, *kwargs.values()):
        parts = value.values() if isinstance(value, Mapping) else value
        for part in parts if isinstance(value, Mapping | list | tuple) else (value,):
            if getattr(part, "shape", None):
                return int(part.shape[0])
    return None
