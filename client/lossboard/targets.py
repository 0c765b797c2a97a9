"""What the cross entropies divide by: the targets that are not ignored, each by the weight of its class.

The functions of torch.nn.functional come with `Options`, the modules with themselves: those are named `…_of`.
"""

import sys
from typing import Any


def weigh_classes_of(module: Any, input: Any, target: Any) -> tuple[Any, int]:  # noqa: A002 - torch's name
    """Weigh a call of CrossEntropyLoss or NLLLoss."""
    buffers = module._buffers  # 0.1 µs, where module.weight takes 0.7 µs of every step
    weight = buffers["weight"] if "weight" in buffers else module.weight  # noqa: SIM401 - .get asks both
    return _weigh(input.shape, target, weight, module.ignore_index)


def weigh_classes(options: Any, input: Any, target: Any) -> tuple[Any, int]:  # noqa: A002
    """Weigh a call of cross_entropy or nll_loss."""
    return _weigh(input.shape, target, options.weight, options.ignore_index)


def unit_of_classes(options: Any, input: Any, target: Any) -> str:  # noqa: A002
    """Return what `weigh_classes` counts."""
    return _unit(input.shape, target, options.weight)


def weigh_linear_of(module: Any, input: Any, target: Any) -> tuple[Any, int]:  # noqa: A002
    """Weigh a call of LinearCrossEntropyLoss, which holds the layer that makes its logits."""
    shape = *input.shape[:-1], module.num_classes, *module.out_features
    return _weigh(shape, target, module.weight, _ignored(module))


def unit_of_linear_of(module: Any, input: Any, target: Any) -> str:  # noqa: A002
    """Return what `weigh_linear_of` counts."""
    return _unit((*input.shape[:-1], module.num_classes, *module.out_features), target, module.weight)


def weigh_linear(options: Any, input: Any, matrix: Any, target: Any) -> tuple[Any, int]:  # noqa: A002
    """Weigh a call of linear_cross_entropy."""
    return _weigh((*input.shape[:-1], *matrix.shape[:-1]), target, options.weight, _ignored(options))


def unit_of_linear(options: Any, input: Any, matrix: Any, target: Any) -> str:  # noqa: A002
    """Return what `weigh_linear` counts."""
    return _unit((*input.shape[:-1], *matrix.shape[:-1]), target, options.weight)


def total(weights: Any) -> Any:
    """Return the sum of the weights, in float64: in float32 a sum of 2^24 weights of 1 stands still."""
    return weights.sum(dtype=None if weights.is_mps else sys.modules["torch"].float64)  # MPS has no float64


def _weigh(shape: Any, target: Any, weight: Any, ignore_index: int) -> tuple[Any, int]:
    """Weigh the targets of logits of such a shape."""
    is_batched = len(shape) > 1
    rows = shape[0] if is_batched else 1
    if target.is_floating_point():
        # Class probabilities: neither class weights nor ignore_index enter the denominator.
        classes = shape[1] if is_batched else shape[0]
        return (target.numel() // classes if classes else 0), rows
    target = target.long()  # nearly always it is; in bytes −100 would be class 156
    if weight is None:
        return (target != ignore_index).count_nonzero(), rows
    # Ignored targets may be no valid class (−100 is the default): look up class 0, then drop it.
    # nll_loss of a −1 that is expanded takes half the time on a CPU, but CUDA lays out N × C for it.
    ignored = target == ignore_index
    taken = weight.detach().take(target.masked_fill(ignored, 0)).masked_fill_(ignored, 0)
    return total(taken), rows


def _unit(shape: Any, target: Any, weight: Any) -> str:
    if weight is not None and not target.is_floating_point():
        return "class_weight"
    return "tokens" if len(shape) > 2 else "items"


def _ignored(options: Any) -> int:
    return -100 if options.ignore_index is None else options.ignore_index
