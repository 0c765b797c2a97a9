"""Counting a run's optimizer steps, and telling the evaluations inside one step from each other."""

import sys
from typing import Any, Final
from weakref import WeakKeyDictionary

SILENT_RECORDS: Final = 256  # so many records before the first step: nothing that we can see steps


class StepClock:
    """The optimizer steps of this process since the run's first watched loss.

    torch's hooks for all optimizers tell them, since a loss knows no optimizer; they are
    there while a loss is watched. Where several optimizers step in turn (a GAN's two), the
    one with the most steps counts.
    """

    def __init__(self) -> None:
        self.count = 0
        self.is_inside = False
        """An optimizer is stepping: whatever evaluates a loss now is its closure."""
        self._handles: list[Any] = []
        self._watchers = 0
        self._records = 0
        self._has_gone_back = False
        self._counts: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    def start(self) -> None:
        """Listen to torch's optimizers, if torch is there; once for each watcher."""
        self._watchers += 1
        optimizers: Any = sys.modules.get("torch.optim.optimizer")
        if optimizers is not None and not self._handles:
            self._handles = [
                optimizers.register_optimizer_step_pre_hook(self._begin),
                optimizers.register_optimizer_step_post_hook(self._end),
            ]

    def stop(self) -> None:
        """Stop listening when the last watcher has gone."""
        self._watchers -= 1
        if self._watchers <= 0:
            for handle in self._handles:
                handle.remove()
            self._handles.clear()

    def now(self) -> int | None:
        """Return the steps before a record; None where nothing ever stepped that we could see."""
        self._records += 1
        return None if self.count == 0 and self._records > SILENT_RECORDS else self.count

    def is_repeated(self, output: Any) -> bool:
        """Tell whether a loss is evaluated again inside one step: line searches ask several times.

        A second evaluation is what comes after a backward pass. The first one counts,
        since it is what `optimizer.step` returns.
        Source: torch/optim/lbfgs.py, `orig_loss`.
        """
        if self._has_gone_back:
            return True
        output.register_hook(self._go_back)
        return False

    def _go_back(self, _gradient: Any) -> None:
        self._has_gone_back = self.is_inside

    def _begin(self, _optimizer: Any, _args: Any, _kwargs: Any) -> None:
        if not _is_compiling():
            self.is_inside = True
            self._has_gone_back = False

    def _end(self, optimizer: Any, _args: Any, _kwargs: Any) -> None:
        if not _is_compiling():
            self.is_inside = False
            steps = self._counts.get(optimizer, 0) + 1
            self._counts[optimizer] = steps
            self.count = max(self.count, steps)


def _is_compiling() -> bool:
    # A counter that changes inside a compiled step would compile it anew each time.
    torch = sys.modules["torch"]
    return bool(torch.compiler.is_compiling())
