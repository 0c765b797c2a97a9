"""What a loss was divided by: the exact weight of torch's common losses, from shapes where they suffice.

The weight is the denominator of reduction 'mean', so that Σ weight × loss ÷ Σ weight over
any batching is the loss of all the data. torch is never imported here: only its objects
are asked.
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple


class Weight(NamedTuple):
    """The weight of one evaluation.

    `weight` is a number, or a tensor of one number on the loss's device where only a
    kernel can count it. `items` is the leading dimension, the batch as far as shapes tell.
    """

    weight: Any
    unit: str
    source: str
    items: int


# (module, input, target) → (weight, items)
Rule = Callable[[Any, Any, Any], tuple[Any, int]]


def weigh(module: Any, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> Weight | None:
    """Weigh one call of a loss module; None for losses whose denominator is not known."""
    rule = rule_for(module)
    if rule is None or getattr(output, "numel", lambda: 1)() != 1:
        return None
    input, target = operands(args, kwargs)  # noqa: A001 - torch's own name for it
    weight, items = rule(module, input, target)
    return Weight(weight, unit_for(rule, module, input, target), "exact", items)


def rule_for(module: Any) -> Rule | None:
    """Return the rule of a loss module, if its class, or the one whose forward it inherits, has one."""
    kind = type(getattr(module, "_orig_mod", module))  # torch.compile wraps
    for base in kind.__mro__:
        rule = _RULES.get(base.__name__) if base.__module__ == "torch.nn.modules.loss" else None
        if rule is not None:
            # A subclass with a forward of its own (a focal loss, say) may divide by anything.
            return rule if kind.forward is base.forward else None  # type: ignore[attr-defined]
    return None


def operands(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return input and target of a call, however they were passed."""
    if len(args) == 2:
        return args[0], args[1]
    return args[0] if args else kwargs["input"], kwargs["target"]


def unit_for(rule: Rule, module: Any, input: Any, target: Any) -> str:  # noqa: A002
    """Return what the weight of such a call counts: items, elements, tokens or class weights."""
    if rule is _weigh_classes:
        if module.weight is not None and not target.is_floating_point():
            return "class_weight"
        return "tokens" if input.dim() > 2 else "items"
    return "elements" if math.prod(broadcast(input.shape, target.shape)[1:]) != 1 else "items"


def broadcast(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...]:
    """Return the shape to which two shapes are broadcast."""
    if len(a) < len(b):
        a, b = b, a
    b = (*(1 for _ in range(len(a) - len(b))), *b)
    return tuple(x if y == 1 else y for x, y in zip(a, b, strict=True))


def _weigh_classes(module: Any, input: Any, target: Any) -> tuple[Any, int]:  # noqa: A002
    shape = input.shape
    items, classes = (shape[0], shape[1]) if len(shape) > 1 else (1, shape[0])
    if target.is_floating_point():
        # Class probabilities: neither class weights nor ignore_index enter the denominator.
        return (input.numel() // classes if classes else 0), items
    if module.weight is None:
        return (target != module.ignore_index).count_nonzero(), items
    # Ignored targets may be no valid class (−100 is the default): look up class 0, then drop it.
    ignored = target == module.ignore_index
    taken = module.weight.detach().take(target.masked_fill(ignored, 0)).masked_fill(ignored, 0)
    # In float64: a float32 sum of 2^24 weights of 1 stands still. Apple's MPS has none.
    return taken.sum(dtype=None if taken.is_mps else _float64()), items


def _weigh_elements(_module: Any, input: Any, target: Any) -> tuple[Any, int]:  # noqa: A002
    shape = input.shape
    if shape == target.shape:
        return input.numel(), shape[0] if shape else 1
    together = broadcast(shape, target.shape)
    return math.prod(together), together[0] if together else 1


def _weigh_binary(_module: Any, input: Any, _target: Any) -> tuple[Any, int]:  # noqa: A002
    # `weight` and `pos_weight` scale the numerator only.
    shape = input.shape
    return input.numel(), shape[0] if shape else 1


def _float64() -> Any:
    return sys.modules["torch"].float64  # loaded: its tensors are in our hands


_RULES: Final[dict[str, Rule]] = {
    "CrossEntropyLoss": _weigh_classes,
    "NLLLoss": _weigh_classes,
    "MSELoss": _weigh_elements,
    "L1Loss": _weigh_elements,
    "BCELoss": _weigh_binary,
    "BCEWithLogitsLoss": _weigh_binary,
}
