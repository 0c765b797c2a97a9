"""How the loss of one batch is got out of a Keras model: heard, or else read off its loss tracker."""

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import keras

from lossboard.faults import guard
from lossboard.keras.losses import Heard, join_masks, losses_of, reduction_of

TRACKS_ITEMS: Final = tuple(int(part) for part in keras.__version__.split(".")[:2]) >= (3, 2)
"""Whether Keras's loss tracker counts items; before 3.2 it counted batches."""


class Tap:
    """The `compute_loss` of one model, heard: it answers as before, and `see` is told of each call.

    `host` is whose faults are ours. A copy of the model and a saved one are not heard.
    """

    def __init__(self, model: Any, see: Callable[[Heard], None], host: object) -> None:
        self._model = model
        self._see: Callable[[Heard], None] | None = see
        self._host = host
        self._is_plain: bool | None = None
        self._former = vars(model).get("compute_loss")
        self._compute: Callable[..., Any] = model.compute_loss
        functools.update_wrapper(self, self._compute, updated=())
        self._hear_eagerly = sys.modules["torch"].compiler.disable(self._hear)
        model.compute_loss = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the loss."""
        if self._see is None:
            return self._compute(*args, **kwargs)
        if sys.modules["torch"].compiler.is_compiling():  # with jit_compile=True: one break of the graph
            return self._hear_eagerly(args, kwargs)
        return self._hear(args, kwargs)

    def _hear(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        with _reduced_values(self._model, self._host) as seen:
            value = self._compute(*args, **kwargs)
        with guard(self._host):
            if self._see is not None:
                batch = dict(zip(("x", "y", "y_pred", "sample_weight"), args, strict=False)) | dict(kwargs)
                values, mask = seen[0] if len(seen) == 1 and self._is_single() else (None, None)
                self._see(Heard(self._model, value, batch, values, join_masks(batch.get("y_pred"), mask)))
        return value

    def __reduce__(self) -> Any:
        # Keras before 3.3 copies a model attribute by attribute: the copy gets its class's own method.
        return getattr, (self._model, "compute_loss")

    def remove(self) -> None:
        """Give the model its own `compute_loss` back; taps of others stay."""
        self._see = None
        top = vars(self._model).get("compute_loss")
        if not isinstance(top, Tap):
            return
        while isinstance(top, Tap) and top._see is None:
            top = top._former
        if top is None:
            del self._model.compute_loss
        else:
            self._model.compute_loss = top

    def _is_single(self) -> bool:
        """Whether the model's loss is one reduced loss and nothing else: no second output, no regulariser."""
        if self._is_plain is None:
            is_keras = type(self._model).compute_loss is keras.Model.compute_loss
            with sys.modules["torch"].no_grad():
                self._is_plain = is_keras and not self._model.losses
        losses = losses_of(self._model)
        return self._is_plain and len(losses) == 1 and type(losses[0]).__call__ is keras.losses.Loss.__call__


class Tracker:
    """The differences of a model's loss tracker: what one step added to its total and its count.

    Both are float32 that grow along an epoch: the i-th batch's loss is off by up to 7e-8 × i of
    its value (measured, 1 to 30,000 batches of 32 and of 128 items).

    Cost: waits for the device, as Keras itself then does for its logs.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.reset()

    def steps(self) -> int:
        """Return how many batches one call of Keras's train function goes through."""
        return int(getattr(self.model, "steps_per_execution", None) or 1)

    def reduction(self) -> str:
        """Return the reduction of a difference."""
        found = reduction_of(losses_of(self.model))
        # Before 3.2 nothing tells the items; several sums are averaged by items, which nothing undoes.
        return "unknown" if not TRACKS_ITEMS or (found == "sum" and self.steps() > 1) else found

    def reset(self) -> None:
        """Note that Keras sets its tracker to 0: where an epoch begins, and an evaluation."""
        self._total = self._count = 0.0

    def difference(self) -> tuple[float, float]:
        """Return what was added to total and count since the last time."""
        total, count = self._read()
        added = total - self._total, count - self._count
        self._total, self._count = total, count
        return added

    def _read(self) -> tuple[float, float]:
        tracker = self.model._loss_tracker
        # Within an epoch JAX's state is not in the variables, and putting it there would be slow.
        state = (getattr(self.model, "_jax_state", None) or {}).get("metrics_variables")
        if state is None:
            return float(tracker.total.value), float(tracker.count.value)
        found = {id(v): value for v, value in zip(self.model.metrics_variables, state, strict=True)}
        return float(found[id(tracker.total)]), float(found[id(tracker.count)])


@contextmanager
def _reduced_values(model: Any, host: object) -> Iterator[list[tuple[tuple[int, ...], Any]]]:
    """Collect shape and mask of what a model's only loss reduces, while a batch's loss is computed."""
    seen: list[tuple[tuple[int, ...], Any]] = []
    losses: list[Any] = []
    former: Any = None
    with guard(host):
        losses = losses_of(model)
        if len(losses) == 1:
            former = vars(losses[0]).get("call")  # another tap of the same model
            losses[0].call = _noting(losses[0].call, seen)
    try:
        yield seen
    finally:
        if len(losses) == 1:
            with guard(host):
                del losses[0].call
                if former is not None:
                    losses[0].call = former


def _noting(call: Callable[..., Any], seen: list[tuple[tuple[int, ...], Any]]) -> Callable[..., Any]:
    def noting(*args: Any, **kwargs: Any) -> Any:
        values = call(*args, **kwargs)
        seen.append((tuple(getattr(values, "shape", ())), getattr(values, "_keras_mask", None)))
        return values

    return noting
