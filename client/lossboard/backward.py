"""What a loss is multiplied by on its way to `backward`: accumulation, AMP's scale, a factor in a sum.

The gradient that arrives at the loss itself is exactly that factor, so no function of
torch is replaced and nothing is computed: d(what was sent backward) ÷ d(loss).
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Final

MAX_OBSERVED: Final = 64  # evaluations until it must be known
WINDOWS: Final = 3  # complete steps that settle it earlier
TOLERANCE: Final = 1e-3  # relative; the gradient of a bfloat16 loss has 8 bits
LEAST_SCALE: Final = 16.0  # AMP begins at 65536 and halves; a factor of 2 or 8 is the script's own


class Backward:
    """The factor of one loss, found from its first evaluations; with AMP its scale is followed on.

    `tell(divisor)` is called once, when it is known that the loss is divided before
    backward; `count_skipped` for each step that AMP left out.
    """

    def __init__(self, tell: Callable[[float, int], None], count_skipped: Callable[[], None]) -> None:
        self.is_curious = True
        self.factor: float | None = None
        """What the loss is multiplied by in the objective; None until it is known."""
        self._tell = tell
        self._count_skipped = count_skipped
        self._observed = 0
        self._steps: list[int] = []  # of each evaluation observed
        self._factors: list[float] = []  # that have arrived
        self._scale = 0.0  # AMP's, as last seen
        self._scale_step: int | None = -1

    def observe(self, output: Any, step: int | None, defer: Callable[[Any], None]) -> None:
        """Look at one evaluation when its gradient comes; on an accelerator `defer` carries the number."""
        self._observed += 1
        if self.factor is None and (step or 0) != (self._steps or [step or 0])[-1]:
            self._settle()
        if not self.is_curious:
            return
        if self.factor is None:
            self._steps.append(step or 0)
            if self._observed > MAX_OBSERVED:
                self._settle(is_last=True)
        output.register_hook(partial(self._see, step, defer))

    def arrive(self, step: int | None, factor: float) -> None:
        """Take the factor of one evaluation."""
        if self.factor is None and _is_scale(factor):
            # AMP's scale, and a window of 2, 4, 8 can't be told from it: that product is a power of 2 too.
            self.factor, self._scale, self._scale_step = 1.0, abs(factor), step
        elif self._scale:
            self._follow(step, abs(factor))
        elif self.factor is None and math.isfinite(factor):
            self._factors.append(factor)

    def _see(self, step: int | None, defer: Callable[[Any], None], gradient: Any) -> None:
        # Never raises: an error here would be an error in the script's backward.
        if gradient.numel() != 1:
            self.is_curious = False
        elif gradient.is_cpu:
            self.arrive(step, gradient.item())
        else:
            defer((step, gradient.detach()))

    def _settle(self, is_last: bool = False) -> None:
        windows = sorted(self._steps.count(step) for step in set(self._steps))
        if not self._factors or (len(windows) < WINDOWS and not is_last):
            self.is_curious = not is_last  # never sent backward: nothing will be learnt
            return
        factor = sorted(self._factors)[len(self._factors) // 2]
        per_step = windows[len(windows) // 2] if len(windows) > 1 else 1
        if per_step > 1 and _is_scale(factor * per_step):
            self.factor, self._scale, self._scale_step = 1.0, abs(factor), self._steps[-1]
            self._tell(float(per_step), per_step)
            return
        self.factor = factor
        self.is_curious = False
        if per_step > 1 and abs(factor * per_step - 1) < TOLERANCE:
            self.factor = 1.0
            self._tell(float(per_step), per_step)
        elif factor > 0 and abs(factor - 1) > TOLERANCE:
            self._tell(1 / factor, per_step)

    def _follow(self, step: int | None, scale: float) -> None:
        # GradScaler halves its scale when it has left a step out, and only then.
        if scale <= self._scale / 2 and step == self._scale_step:
            self._count_skipped()
        self._scale, self._scale_step = scale, step


def _is_scale(factor: float) -> bool:
    """Whether a factor is one of GradScaler's: a power of 2, up to what its arithmetic rounds off."""
    if not math.isfinite(factor) or abs(factor) < LEAST_SCALE:
        return False
    power = math.log2(abs(factor))
    return abs(power - round(power)) < TOLERANCE
