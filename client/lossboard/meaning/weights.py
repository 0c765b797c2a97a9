"""What a call of a loss was divided by: the exact weight, for every loss that torch has.

The weight is the denominator of reduction 'mean', so that Σ weight × loss ÷ Σ weight over
any batching is the loss of all the data. The formulas are in `denominators`; here is how
the loss of a script is found among them, and how its arguments are read.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from lossboard.meaning.denominators import OF_CLASSES, OF_FUNCTIONS, Denominator, Options, broadcast_shape

__all__ = ["Rule", "broadcast_shape", "find_rule"]

# 'batchmean' is a mean as well: over the rows.
_REDUCTIONS: Final = {
    "mean": "mean",
    "elementwise_mean": "mean",
    "batchmean": "mean",
    "sum": "sum",
    "none": "none",
}


class Rule:
    """How the calls of one loss are weighed.

    The answers are those of torch's own code: a sum and a vector of unreduced losses get the
    denominator that the mean of the same call would have had. Of CTC only the mean is
    divided by the targets' lengths, so its sum ÷ weight is another quantity than its mean.
    """

    def __init__(
        self,
        kind: Denominator,
        told: Any,
        names: Sequence[str],
        n_operands: int,
        bound: tuple[Sequence[Any], Mapping[str, Any]],
    ) -> None:
        self._kind = kind
        self._weigh = kind.weigh
        self._kept = kind.kept
        self._told = told  # the module, or a function's `Options` where a call tells no others
        self._is_function = isinstance(told, Options)
        self._names = names
        self._n_operands = n_operands
        self._bound_args, self._bound_kwargs = bound
        # With so many arguments and no keywords a call is its operands, as it nearly always is.
        self._plain = -1 if self._bound_args else n_operands

    def weigh(self, args: Sequence[Any], kwargs: Mapping[str, Any], output: Any) -> tuple[Any, int]:
        """Return the weight of a call and its rows, the leading dimension of the batch.

        The weight is a number, or a tensor of one number on the target's device; 0 where
        nothing counts.
        """
        if len(args) == self._plain and not kwargs:
            told, operands = self._told, args
        else:
            told, operands = self._read(args, kwargs)
        if self._kept is not None and output.requires_grad:
            weight = self._kept(output)
            if weight is not None:
                shape = operands[0].shape
                return weight, shape[0] if len(shape) > 1 else 1
        return self._weigh(told, *operands)

    def unit(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """Return what the weight of such a call counts: items, elements, tokens or class_weight."""
        told, operands = self._read(args, kwargs)
        return self._kind.unit(told, *operands)

    def reduction(self, kwargs: Mapping[str, Any], args: Sequence[Any] = ()) -> str:
        """Return 'mean', 'sum' or 'none'; a function may be told by keyword or by position."""
        if not self._is_function:
            return _REDUCTIONS[getattr(self._told, "reduction", "mean")]
        if len(args) == self._plain and not kwargs:
            return _REDUCTIONS[self._told.reduction]
        return _REDUCTIONS[_reduction_told(self._arguments(args, kwargs))]

    def value(self, output: Any) -> Any:
        """Return the loss in what a call returned."""
        return output if self._kind.field is None else getattr(output, self._kind.field)

    def broadcast(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
        """Return the sentence on input and target spread over each other; None where they are not."""
        told, operands = self._read(args, kwargs)
        return self._kind.trap(told, *operands)

    def _read(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, Sequence[Any]]:
        """Return the options and the operands of a call, however they were passed."""
        if len(args) == self._plain and not kwargs:
            return self._told, args
        told = self._arguments(args, kwargs)
        operands = [told[name] for name in self._names[: self._n_operands]]
        return (_options(told) if self._is_function else self._told), operands

    def _arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        given = zip(self._names, (*self._bound_args, *args), strict=False)
        return {**self._bound_kwargs, **dict(given), **kwargs}


def find_rule(loss_func: Any) -> Rule | None:
    """Return the rule of a loss: a module, a function of torch.nn.functional, or a partial of either.

    None where what it divides by is not known: a function of the script, a subclass with a
    forward of its own, a reduction that torch does not have.
    """
    loss_func = _uncompiled(loss_func)
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = {}
    if isinstance(loss_func, functools.partial):
        args, kwargs = loss_func.args, loss_func.keywords
        loss_func = _uncompiled(loss_func.func)
    name = getattr(loss_func, "__name__", None)
    if name in OF_FUNCTIONS and loss_func is _torchs("torch.nn.functional", name):
        return _rule_of_function(loss_func, args, kwargs)
    kind = _kind_of(loss_func)
    if kind is None or getattr(loss_func, "reduction", "mean") not in _REDUCTIONS:
        return None
    names = _parameters(type(loss_func).forward)[1:]
    return Rule(kind, loss_func, names, len(names), (args, kwargs))


def _rule_of_function(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Rule | None:
    kind, n_operands = OF_FUNCTIONS[function.__name__]
    names = _parameters(function)
    told = {**kwargs, **dict(zip(names, args, strict=False))}
    if _reduction_told(told) not in _REDUCTIONS:
        return None
    return Rule(kind, _options(told), names, n_operands, (args, kwargs))


def _kind_of(module: Any) -> Denominator | None:
    """Return the kind of a module by its class, or by the class whose forward it inherits."""
    cls = type(module)
    for base in cls.__mro__:
        kind = OF_CLASSES.get(base.__name__)
        if kind is None or base is not _torchs(base.__module__, base.__name__):
            continue
        # A forward of its own (a focal loss, say) may divide by anything; so may a distance.
        is_torchs = cls.forward is base.forward and "forward" not in vars(module)
        return kind if is_torchs and _is_known_distance(module) else None
    return None


def _is_known_distance(module: Any) -> bool:
    distance = getattr(module, "distance_function", None)
    return distance is None or type(distance) is _torchs("torch.nn.modules.distance", "PairwiseDistance")


def _torchs(module: str, name: str) -> Any:
    """Return an object of torch by its name; None where torch has none, or is not loaded."""
    return getattr(sys.modules.get(module), name, None) if module.startswith("torch.nn.") else None


def _uncompiled(loss_func: Any) -> Any:
    """Return what torch.compile wraps."""
    loss_func = getattr(loss_func, "_orig_mod", loss_func)
    loss_func = getattr(loss_func, "_torchdynamo_orig_callable", loss_func)
    # Around functions of torch itself, and partials, it lays a second wrapper.
    is_wrapper = getattr(loss_func, "__globals__", {}).get("__name__") == "torch._dynamo.external_utils"
    return loss_func.__wrapped__ if is_wrapper else loss_func


@functools.cache
def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    # Asked, not written down: the positions of options differ between torch's versions.
    return tuple(inspect.signature(function).parameters)


def _options(told: Mapping[str, Any]) -> Options:
    return Options(told.get("weight"), told.get("ignore_index", -100), _reduction_told(told))


def _reduction_told(told: Mapping[str, Any]) -> str:
    """Return the reduction that these arguments ask for, by torch's own rule for the two old flags."""
    averaged, reduced = told.get("size_average"), told.get("reduce")
    if averaged is None and reduced is None:
        reduction: str = told.get("reduction", "mean")
        return reduction
    if reduced is not None and not reduced:
        return "none"
    return "mean" if averaged is None or averaged else "sum"
