"""What each of torch's losses divides its sum by: one formula for each kind, and which loss is of which kind.

A formula takes the loss's options (its module, or `Options` of a function) and then its
tensors in the order in which torch takes them. torch is never imported here: only its
objects are asked.

Source: the code of torch 2.13, each formula checked by running it (tests/client/test_weights_exact.py).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from lossboard.meaning import targets


class Options(NamedTuple):
    """What a loss function is told beside its tensors, as far as its denominator depends on it."""

    weight: Any = None
    ignore_index: Any = -100
    reduction: str = "mean"


class Denominator(NamedTuple):
    """The formulas of one kind of loss.

    `weigh` gives weight and rows, `unit` what the weight counts, `trap` the sentence on an
    unmeant broadcast. `field` is where the loss stands in what the call returns, None: it is
    what the call returns. `kept` gives the weight that torch itself still holds of a loss, or None.
    """

    weigh: Callable[..., tuple[Any, int]]
    unit: Callable[..., str]
    trap: Callable[..., str | None] = lambda *_: None
    field: str | None = None
    kept: Callable[[Any], Any] | None = None


def broadcast_shape(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...]:
    """Return the shape to which two shapes are broadcast."""
    if len(a) < len(b):
        a, b = b, a
    b = (*(1 for _ in range(len(a) - len(b))), *b)
    return tuple(x if y == 1 else y for x, y in zip(a, b, strict=True))


def _weigh_elements(_options: Any, input: Any, target: Any, *_variance: Any) -> tuple[Any, int]:  # noqa: A002
    shape = input.shape
    if shape == target.shape:
        return input.numel(), shape[0] if shape else 1
    together = broadcast_shape(shape, target.shape)
    return math.prod(together), together[0] if together else 1


def _unit_of_elements(_options: Any, input: Any, target: Any, *_variance: Any) -> str:  # noqa: A002
    return "elements" if math.prod(broadcast_shape(input.shape, target.shape)[1:]) != 1 else "items"


def _trap_of_elements(_options: Any, input: Any, target: Any, *_others: Any) -> str | None:  # noqa: A002
    if input.shape == target.shape:
        return None
    a, b = tuple(input.shape), tuple(target.shape)
    together = broadcast_shape(a, b)
    # One of both spread over the other is meant; that both are spread hardly ever is.
    if math.prod(together) <= max(math.prod(a), math.prod(b)):
        return None
    return f"input {a} and target {b} were broadcast to {together}"


def _weigh_weighted(options: Options, input: Any, target: Any) -> tuple[Any, int]:  # noqa: A002
    elements, rows = _weigh_elements(options, input, target)
    return (elements if options.weight is None else targets.total(options.weight.detach())), rows


def _unit_of_weighted(options: Options, input: Any, target: Any) -> str:  # noqa: A002
    return _unit_of_elements(options, input, target) if options.weight is None else "class_weight"


def _weigh_binary(_options: Any, input: Any, _target: Any) -> tuple[Any, int]:  # noqa: A002
    # `weight` and `pos_weight` scale the numerator only, and nothing is broadcast.
    shape = input.shape
    return input.numel(), shape[0] if shape else 1


def _unit_of_binary(_options: Any, input: Any, _target: Any) -> str:  # noqa: A002
    return "elements" if math.prod(input.shape[1:]) != 1 else "items"


def _weigh_divergence(options: Any, input: Any, target: Any) -> tuple[Any, int]:  # noqa: A002
    if options.reduction != "batchmean":
        return _weigh_elements(options, input, target)
    rows = input.shape[0] if input.dim() else 1
    return rows, rows


def _unit_of_divergence(options: Any, input: Any, target: Any) -> str:  # noqa: A002
    return "items" if options.reduction == "batchmean" else _unit_of_elements(options, input, target)


def _by_shape(
    shape_of: Callable[..., Sequence[int]], many: str, trap: Callable[..., str | None] = lambda *_: None
) -> Denominator:
    """Make the formulas of a loss that averages over a shape; `many` is the unit where rows hold several."""

    def weigh(options: Any, *operands: Any) -> tuple[Any, int]:
        shape = shape_of(options, *operands)
        return math.prod(shape), shape[0] if shape else 1

    def unit(options: Any, *operands: Any) -> str:
        return many if math.prod(shape_of(options, *operands)[1:]) != 1 else "items"

    return Denominator(weigh, unit, trap)


def _rows(_options: Any, input: Any, *_others: Any) -> Sequence[int]:  # noqa: A002
    return tuple(input.shape[:1]) if input.dim() > 1 else ()


def _labels(options: Any, input: Any, target: Any) -> Sequence[int]:  # noqa: A002
    shape = broadcast_shape(input.shape, target.shape)
    if options.weight is not None:
        shape = broadcast_shape(shape, options.weight.shape)
    classes = input.dim() - 1  # counted from the front, whatever the broadcast put before it
    return shape[:classes] + shape[classes + 1 :]


def _pairs(_options: Any, first: Any, second: Any, target: Any) -> Sequence[int]:
    return broadcast_shape(broadcast_shape(first.shape, second.shape)[:-1], target.shape)


def _ranks(_options: Any, first: Any, second: Any, target: Any) -> Sequence[int]:
    return broadcast_shape(broadcast_shape(first.shape, second.shape), target.shape)


def _triplets(_options: Any, anchor: Any, positive: Any, negative: Any) -> Sequence[int]:
    return broadcast_shape(broadcast_shape(anchor.shape, positive.shape), negative.shape)[:-1]


def _sequences(_options: Any, log_probs: Any, *_others: Any) -> Sequence[int]:
    return tuple(log_probs.shape[1:2]) if log_probs.dim() == 3 else ()  # (T, N, C)


_CLASSES_OF: Final = Denominator(targets.weigh_classes_of, targets.unit_of_classes, kept=targets.kept_total)
_ELEMENTS: Final = Denominator(_weigh_elements, _unit_of_elements, _trap_of_elements)
_WEIGHTED: Final = Denominator(_weigh_weighted, _unit_of_weighted, _trap_of_elements)
_BINARY: Final = Denominator(_weigh_binary, _unit_of_binary)
_DIVERGENCE: Final = Denominator(_weigh_divergence, _unit_of_divergence, _trap_of_elements)
_CLASSES: Final = Denominator(targets.weigh_classes, targets.unit_of_classes, kept=targets.kept_total)
_LINEAR: Final = Denominator(targets.weigh_linear, targets.unit_of_linear)
_ROWS: Final = _by_shape(_rows, "items")
_LABELS: Final = _by_shape(_labels, "tokens", _trap_of_elements)
_PAIRS: Final = _by_shape(_pairs, "items")
_RANKS: Final = _by_shape(_ranks, "elements")
_TRIPLETS: Final = _by_shape(_triplets, "tokens")
_SEQUENCES: Final = _by_shape(_sequences, "items")

OF_CLASSES: Final[dict[str, Denominator]] = {
    "AdaptiveLogSoftmaxWithLoss": _ROWS._replace(field="loss"),
    "BCELoss": _BINARY,
    "BCEWithLogitsLoss": _BINARY,
    "CosineEmbeddingLoss": _PAIRS,
    "CrossEntropyLoss": _CLASSES_OF,
    # A sum is not divided by the targets' lengths as a mean is: both are per sequence, of other things.
    "CTCLoss": _SEQUENCES,
    "GaussianNLLLoss": _ELEMENTS,
    "HingeEmbeddingLoss": _ELEMENTS,
    "HuberLoss": _ELEMENTS,
    "KLDivLoss": _DIVERGENCE,
    "L1Loss": _ELEMENTS,
    "LinearCrossEntropyLoss": Denominator(targets.weigh_linear_of, targets.unit_of_linear_of),
    "MarginRankingLoss": _RANKS,
    "MSELoss": _ELEMENTS,
    "MultiLabelMarginLoss": _ROWS,
    "MultiLabelSoftMarginLoss": _LABELS,
    "MultiMarginLoss": _ROWS,
    "NLLLoss": _CLASSES_OF,
    "PoissonNLLLoss": _ELEMENTS,
    "SmoothL1Loss": _ELEMENTS,
    "SoftMarginLoss": _ELEMENTS,
    "TripletMarginLoss": _TRIPLETS,
    "TripletMarginWithDistanceLoss": _TRIPLETS,
}

# How many of a function's parameters are the tensors of the batch. `triplet_margin_with_distance_loss`
# is absent: it is told a function of the script with each call, which may do anything.
OF_FUNCTIONS: Final[dict[str, tuple[Denominator, int]]] = {
    "binary_cross_entropy": (_BINARY, 2),
    "binary_cross_entropy_with_logits": (_BINARY, 2),
    "cosine_embedding_loss": (_PAIRS, 3),
    "cross_entropy": (_CLASSES, 2),
    "ctc_loss": (_SEQUENCES, 4),
    "gaussian_nll_loss": (_ELEMENTS, 3),
    "hinge_embedding_loss": (_ELEMENTS, 2),
    "huber_loss": (_ELEMENTS, 2),  # its `weight` scales the numerator only
    "kl_div": (_DIVERGENCE, 2),
    "l1_loss": (_WEIGHTED, 2),
    "linear_cross_entropy": (_LINEAR, 3),
    "margin_ranking_loss": (_RANKS, 3),
    "mse_loss": (_WEIGHTED, 2),
    "multi_margin_loss": (_ROWS, 2),
    "multilabel_margin_loss": (_ROWS, 2),
    "multilabel_soft_margin_loss": (_LABELS, 2),
    "nll_loss": (_CLASSES, 2),
    "poisson_nll_loss": (_ELEMENTS, 2),
    "smooth_l1_loss": (_ELEMENTS, 2),
    "soft_margin_loss": (_ELEMENTS, 2),
    "triplet_margin_loss": (_TRIPLETS, 3),
}
