"""A loss that a model computes itself, as Hugging Face's do: its weight from the labels, its window too.

transformers is never imported; a model is known by what its call takes and returns.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

MAX_NUMBERS: Final = 1 << 23  # logits in float64 at a time: 64 MiB
IGNORED: Final = -100  # the label that transformers leaves out
TOLERANCE: Final = 1e-4  # relative: shifted and unshifted losses of an untrained model differ by 1e-2


class ModelLoss:
    """What the loss in a model's output was divided by.

    Whether a model compares position t with label t or with label t + 1 is not to be seen
    from outside, so the first call is compared with both. `is_exact` False: neither gave
    the model's number, and the items of the batch stand for the weight. Until the first
    call, and for good where torch.compile hides its numbers, the `model`'s name is believed.

    Source: transformers, loss/loss_utils.py (`ForCausalLMLoss`, `fixed_cross_entropy`);
    checked with 5.23.
    """

    def __init__(self, model: Any = None) -> None:
        self.is_exact = False
        self._count = _count_by_name(model)
        self._is_tokens = self._count is not None

    def settle(self, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> None:
        """Find the denominator that gives this call's loss from its logits and labels."""
        self._count, self._is_tokens = None, False
        labels = _labels_of(args, kwargs)
        if labels is not None:
            try:
                self._compare(labels, kwargs, output)
            except Exception:
                self.is_exact = False  # labels of another kind than we know: as where nothing matches

    def _compare(self, labels: Any, kwargs: Mapping[str, Any], output: Any) -> None:
        loss = output.loss
        window = self.window(kwargs)
        total = None if window is None else float(loss.detach()) * float(window)
        for count, measured in _candidates(output.logits.detach(), labels):
            divided_by = float(count(labels))
            expected = float(loss.detach()) * divided_by if total is None else total
            if abs(measured - expected) <= TOLERANCE * max(abs(measured), 1e-30):
                self._count, self.is_exact = count, True
                self._is_tokens = labels.dim() > 1 and count is not _count_all
                return

    def weigh(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, int | None]:
        """Return the weight of a call, None where it is not known, and its rows."""
        labels = _labels_of(args, kwargs)
        if labels is None:
            return None, None
        rows = labels.shape[0] if labels.dim() else 1
        return (None if self._count is None else self._count(labels)), rows

    def window(self, kwargs: Mapping[str, Any]) -> Any:
        """Return what the sum was divided by instead of its own count; None where it was its own."""
        return kwargs.get("num_items_in_batch")

    def unit(self) -> str:
        """Return what the weight counts."""
        return "tokens" if self._is_tokens else "elements" if self._count is _count_all else "items"


def is_model_output(output: Any) -> bool:
    """Tell whether an output carries a loss beside other things, as a Hugging Face model's does."""
    torch = sys.modules["torch"]
    logits = getattr(output, "logits", None)
    return isinstance(getattr(output, "loss", None), torch.Tensor) and isinstance(logits, torch.Tensor)


def is_inference(output: Any) -> bool:
    """Tell whether an output could carry a loss and has none: the model was called without labels."""
    return hasattr(output, "logits") and getattr(output, "loss", output) is None


def is_known_model(model: Any) -> bool:
    """Tell whether this is a model of transformers."""
    return isinstance(getattr(getattr(model, "config", None), "model_type", None), str)


def _count_by_name(model: Any) -> Callable[[Any], Any] | None:
    """Return how a model of transformers counts, by the task in its class's name; None without one."""
    name = type(getattr(model, "_orig_mod", model)).__name__
    if name.endswith(("ForMaskedLM", "ForTokenClassification")):
        return _count_kept
    if name.endswith(("ForCausalLM", "LMHeadModel")):
        return _count_shifted
    if name.endswith("ForConditionalGeneration"):
        return _count_kept if getattr(model.config, "is_encoder_decoder", False) else _count_shifted
    return None


def _candidates(logits: Any, labels: Any) -> Iterator[tuple[Callable[[Any], Any], float]]:
    """Yield the ways in which transformers' models count, each with the sum that it would have divided."""
    if labels.is_floating_point():
        if logits.numel() == labels.numel():
            logits, labels = logits.double(), labels.double().reshape(logits.shape)
            binary = sys.modules["torch"].nn.functional.binary_cross_entropy_with_logits
            yield _count_all, float((logits - labels).square().sum())
            yield _count_all, float(binary(logits, labels, reduction="sum"))
    elif labels.shape == logits.shape[:-1]:
        if labels.dim() > 1:
            yield _count_shifted, _sum_rows(logits[..., :-1, :], labels[..., 1:])
        yield _count_kept, _sum_rows(logits, labels)


def _sum_rows(logits: Any, labels: Any) -> float:
    """Sum the cross entropies of kept labels, few at a time: all logits in float64 may be many GB."""
    if labels.dim() > 1:
        return sum(_sum_rows(*row) for row in zip(logits, labels, strict=True))
    cross_entropy = sys.modules["torch"].nn.functional.cross_entropy
    at_once = max(1, MAX_NUMBERS // max(1, logits.shape[-1]))
    return sum(
        float(cross_entropy(part.double(), kept, reduction="sum"))
        for part, kept in zip(logits.split(at_once), labels.split(at_once), strict=True)
    )


def _count_shifted(labels: Any) -> Any:
    return (labels[..., 1:] != IGNORED).count_nonzero()


def _count_kept(labels: Any) -> Any:
    return (labels != IGNORED).count_nonzero()


def _count_all(labels: Any) -> Any:
    return labels.numel()


def _labels_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    labels = kwargs.get("labels")
    if labels is None and args and isinstance(args[0], Mapping):
        labels = args[0].get("labels")
    return labels if hasattr(labels, "dim") else None
