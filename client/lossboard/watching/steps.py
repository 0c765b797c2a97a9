"""Counting a run's optimizer steps, and telling the evaluations inside one step from each other."""

import sys
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any, Final

from lossboard.watching.frames import find_frame

SILENT_RECORDS: Final = 256  # so many records before the first step: nothing that we can see steps


class StepClock:
    """The optimizer steps of this process since the run's first watched loss.

    torch's hooks for all optimizers tell them, since a loss knows no optimizer; they are
    there while a loss is watched. Where several optimizers step in turn (a GAN's two), a
    round in which each steps once at most counts as one.
    """

    def __init__(self) -> None:
        self.count = 0
        self.is_inside = False
        """An optimizer is stepping: whatever evaluates a loss now is its closure."""
        self._handles: list[Any] = []
        self._watchers = 0
        self._records = 0
        self._has_gone_back = False
        self._stepping: CodeType | None = None  # what runs while an optimizer steps
        self._latest: int | None = None  # id of the optimizer whose step the count rose with
        self._others: set[int] = set()  # of those that have stepped since
        self._is_compiling: Callable[[], bool] = _never

    def start(self) -> None:
        """Listen to torch's optimizers, if torch is there; once for each watcher."""
        self._watchers += 1
        optimizers: Any = sys.modules.get("torch.optim.optimizer")
        if optimizers is not None and not self._handles:
            # A counter that changes inside a compiled step would compile it anew each time.
            self._is_compiling = sys.modules["torch"].compiler.is_compiling
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

    @property
    def is_silent(self) -> bool:
        """Whether so many records came without a step that none is expected any more."""
        return self._records > SILENT_RECORDS

    def before_first(self) -> int | None:
        """Return the steps before a record while there was none: 0, or None where none is to be expected."""
        self._records += 1
        return 0 if self._records <= SILENT_RECORDS and _has_optimizer() else None

    def is_repeated(self, output: Any) -> bool:
        """Tell whether a loss is evaluated again inside one step: line searches ask several times.

        A second evaluation is what comes after a backward pass. The first one counts,
        since it is what `optimizer.step` returns.
        Source: torch/optim/lbfgs.py, `orig_loss`.
        """
        if self._has_gone_back:
            # A step that raised has told no end.
            self.is_inside = find_frame(self._stepping) is not None
            return self.is_inside
        output.register_hook(self._go_back)
        return False

    def _go_back(self, _gradient: Any) -> None:
        self._has_gone_back = self.is_inside

    def _begin(self, _optimizer: Any, _args: Any, _kwargs: Any) -> None:
        if not self._is_compiling():
            self.is_inside = True
            self._has_gone_back = False
            self._stepping = sys._getframe(1).f_code

    def _end(self, optimizer: Any, _args: Any, _kwargs: Any) -> None:
        # These two run in every step of the training: a set made anew here cost it 2 µs.
        if not self._is_compiling():
            self.is_inside = False
            which = id(optimizer)
            if which != self._latest and self._latest is not None and which not in self._others:
                self._others.add(which)
                return
            self.count += 1
            if self._others:
                self._others.clear()
            self._latest = which


def _has_optimizer() -> bool:
    """Whether anybody has made an optimizer of torch's; a loop may update its weights by hand."""
    optimizers: Any = sys.modules.get("torch.optim.optimizer")
    return optimizers is not None and any(map(_is_in_use, _kinds_of(optimizers.Optimizer)))


def _is_in_use(kind: Any) -> bool:
    # torch marks an optimizer's method with its first instance, when it puts the hooks around it.
    return bool(getattr(kind.step, "hooked", False))


def _kinds_of(kind: Any) -> Iterator[Any]:
    for inner in kind.__subclasses__():
        yield inner
        yield from _kinds_of(inner)


def _never() -> bool:
    return False
