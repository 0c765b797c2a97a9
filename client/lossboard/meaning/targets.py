"""What the cross entropies divide by: the targets that are not ignored, each by the weight of its class.

The functions of torch.nn.functional come with `Options`, the modules with themselves: those are named `…_of`.
"""

import functools
import sys
from collections.abc import Callable
from typing import Any, Final

EXACT_IN_SINGLE: Final = 2**24  # below it a float32 counts targets exactly; more may be rounded down to it
EXACT_IN_HALF: Final = 2**8  # and a bfloat16
FEW_TARGETS: Final = 128  # looked at one by one in 0.3 to 1 µs; two kernels take 2.4 µs, in a cold cache 12


def weigh_classes_of(module: Any, input: Any, target: Any) -> tuple[Any, int]:  # noqa: A002 - torch's name
    """Weigh a call of CrossEntropyLoss or NLLLoss."""
    buffers = module._buffers  # 0.1 µs, where module.weight takes 0.7 µs of every step
    weight = buffers["weight"] if "weight" in buffers else module.weight  # noqa: SIM401 - .get asks both
    return _weigh(input.shape, target, weight, module.ignore_index)


def weigh_classes(options: Any, input: Any, target: Any) -> tuple[Any, int]:  # noqa: A002
    """Weigh a call of cross_entropy or nll_loss."""
    return _weigh(input.shape, target, options.weight, options.ignore_index)


def kept_total(loss: Any) -> Any:
    """Return the denominator that torch keeps for the backward pass of nll_loss, None where it has none.

    A number on the host, elsewhere a tensor of one. None without gradients, of a smoothed loss,
    of one that is not reduced, where it may be rounded, and under saved-tensor hooks: there,
    reading it is unpacking it.
    Source: tools/autograd/derivatives.yaml, nll_loss_forward and nll_loss2d_forward; 2.13.
    """
    if _hooks_in_force()(True) is not None:
        return None
    node = loss.grad_fn
    total = getattr(node, "_saved_total_weight", None)
    if total is None:
        return None
    if total.is_cpu:
        # Where nothing is reduced the kernel sums nothing up, and leaves 0.
        total = total.item()
        if loss.dtype.itemsize > 2:
            return total if 0 < total < EXACT_IN_SINGLE else None
        # Class weights summed in a bfloat16 were 2 % off after 100 targets.
        return total if 0 < total < EXACT_IN_HALF and node._saved_weight is None else None
    is_exact = loss.dtype.itemsize > 2 and node._saved_target.numel() <= EXACT_IN_SINGLE
    return total if is_exact and node._saved_reduction else None


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
    if weight is None and target.is_cpu and target.numel() <= FEW_TARGETS and not _is_compiling():
        each = target.tolist() if target.dim() == 1 else target.flatten().tolist()
        return len(each) - each.count(ignore_index), rows
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


@functools.cache
def _hooks_in_force() -> Callable[[bool], Any]:
    """Return what tells a script's hooks on saved tensors; of a torch without it nothing is known."""
    autograd: Any = sys.modules["torch"]._C._autograd
    return getattr(autograd, "_top_saved_tensors_default_hooks", _some_hooks)


def _some_hooks(_ignore_is_tracing: bool) -> Any:
    return ()


def _is_compiling() -> bool:
    return bool(sys.modules["torch"].compiler.is_compiling())


def _ignored(options: Any) -> int:
    return -100 if options.ignore_index is None else options.ignore_index
