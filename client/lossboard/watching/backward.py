"""What a loss is multiplied by on its way to `backward`: accumulation, AMP's scale, a factor in a sum.

The gradient that arrives at the loss itself is exactly that factor, so no function of
torch is replaced and nothing is computed: d(what was sent backward) ÷ d(loss).
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Final

MAX_OBSERVED: Final = 64  # evaluations until it must be known
MAX_AWAITED: Final = 1024  # where gradients come late: an accelerator's travel once in 256 calls or 1 s
WINDOWS: Final = 3  # complete steps that settle it earlier
TOLERANCE: Final = 5e-3  # relative; the gradient of a bfloat16 loss has 8 bits, so that 1/3 is 0.33398
LASTING: Final = 32  # evaluations that AMP's scale stays down; it rises again after 2,000 steps
LEAST_SCALE: Final = 16.0  # AMP begins at 65536 and halves; a factor of 2 or 8 is the script's own


class Scaling:
    """AMP's scale, which all losses of a run share, as one of them shows it.

    Of losses that enter one sum the one with the largest factor is followed: its factor
    beside the scale is taken for 1.
    """

    def __init__(self, count_skipped: Callable[[], None]) -> None:
        self.value = 0.0
        """The scale as last seen; 0 while no loss has shown one."""
        self._count_skipped = count_skipped
        self._offers: list[tuple[float, Backward]] = []
        self._leader: Backward | None = None
        self._divisor = 1
        self._seen = 0.0  # the leader's gradient
        self._step: int | None = None
        self._falls = self._since = 0  # not yet believed, and the evaluations since the last one
        self._is_steady = True

    def offer(self, backward: "Backward", gradient: float) -> None:
        """Note that a loss shows what may be a scale."""
        if self._leader is None:
            self._offers.append((gradient, backward))

    def choose(self) -> None:
        """Follow one of the losses that were offered, if any; all that enter one sum have been by now."""
        if self._leader is None and self._offers:
            self.lead(max(self._offers, key=lambda offer: offer[0])[1], 1)
        self._offers.clear()

    def lead(self, backward: "Backward", divisor: int) -> None:
        """Follow a loss that is divided by `divisor` before it is scaled."""
        self._leader, self._divisor = backward, divisor
        for step, gradient in backward.take_lead(divisor):
            self.follow(step, gradient)

    def is_led_by(self, backward: "Backward") -> bool:
        """Whether this is the loss that is followed."""
        return self._leader is backward

    def follow(self, step: int | None, gradient: float) -> None:
        """Look at the next gradient of the loss that is followed."""
        gradient = abs(gradient)
        if math.isfinite(gradient) and self._is_steady:
            self._since += 1
            # GradScaler halves its scale when it has left a step out, and only then.
            if gradient <= self._seen / 2 and step == self._step:
                self._falls += 1
                self._since = 0
            elif gradient > self._seen and self._falls:
                # A loss with several factors in turn, as a GAN's one criterion has.
                self._is_steady, self._falls = False, 0
            if self._since >= LASTING:
                self.finish()
            self._seen, self.value = gradient, gradient * self._divisor
        self._step = step

    def finish(self) -> None:
        """Count the steps that were left out and are not yet counted."""
        for _ in range(self._falls):
            self._count_skipped()
        self._falls = 0


class Backward:
    """The factor of one loss, found from its first evaluations.

    `tell(divisor, per_step)` is called once, when it is known that the loss is divided
    before backward.
    """

    def __init__(self, tell: Callable[[float, int], None], scaling: Scaling) -> None:
        self.is_curious = True
        self.factor: float | None = None
        """What the loss is multiplied by before AMP's scale; None until it is known."""
        self.divisor = 1
        """The accumulated batches that it is divided by; they are in `factor`."""
        self.newest: tuple[int, float] | None = None
        """The gradient that came last, and the number of the evaluation that it belongs to."""
        self.observed = 0
        """The number of the newest evaluation."""
        self._tell = tell
        self._scaling = scaling
        self._is_wanted = False
        self._is_awaited = False  # gradients are on their way from a device
        self._steps: list[int] = []  # of each evaluation until the factor is known
        self._gradients: list[tuple[int | None, float]] = []  # that have arrived, with their steps

    def observe(self, output: Any, step: int | None, defer: Callable[[Any], None]) -> None:
        """Look at one evaluation when its gradient comes; on an accelerator `defer` carries the number."""
        self._scaling.choose()
        self.observed += 1
        if self.factor is None:
            if (step or 0) != (self._steps or [step or 0])[-1]:
                self._settle()
            if self.factor is None:
                self._steps.append(step or 0)
                if len(self._steps) > (MAX_AWAITED if self._is_awaited else MAX_OBSERVED):
                    self._settle(is_last=True)
        if self.is_curious:
            output.register_hook(partial(self._see, (self.observed, step), defer))

    def arrive(self, mark: tuple[int, int | None], gradient: float) -> None:
        """Take the gradient of one evaluation: `mark` is its number and its step."""
        number, step = mark
        self.newest = number, gradient
        self._is_awaited = False
        if self._scaling.is_led_by(self):
            self._scaling.follow(step, gradient)
        elif self.factor is None:
            self._gradients.append((step, gradient))
            if _is_scale(gradient):
                # A window of 2, 4, 8 can't be told from it: that product is a power of 2 too.
                self._scaling.offer(self, abs(gradient))

    def want(self, *, is_wanted: bool) -> None:
        """Keep `newest` up to date from now on, or no longer."""
        self._is_wanted = is_wanted
        if is_wanted or not self._scaling.is_led_by(self):
            self.is_curious = is_wanted or self.factor is None

    def take_lead(self, divisor: int) -> list[tuple[int | None, float]]:
        """Become the loss that shows AMP's scale, and hand over what has arrived."""
        self.factor, self.divisor = 1.0 / divisor, divisor
        gradients, self._gradients = self._gradients, []
        return gradients

    def _see(self, mark: tuple[int, int | None], defer: Callable[[Any], None], gradient: Any) -> None:
        # Never raises: an error here would be an error in the script's backward.
        try:
            if gradient.numel() != 1:
                self.is_curious = False
            elif gradient.is_cpu:
                self.arrive(mark, gradient.item())
            else:
                self._is_awaited = True
                defer((mark, gradient.detach()))
        except Exception:
            self.is_curious = False  # under torch.func.vmap a gradient has no number

    def _settle(self, is_last: bool = False) -> None:
        known = [(step or 0, gradient) for step, gradient in self._gradients if math.isfinite(gradient)]
        windows = sorted(self._steps.count(step) for step in set(self._steps)) if known else []
        if not known or (len(windows) < WINDOWS and not is_last):
            self.is_curious = not is_last or self._is_wanted  # never sent backward: nothing will be learnt
            return
        # The newest steps: while AMP looks for its scale it is another one each time.
        newest = sorted({step for step, _ in known})[-WINDOWS:]
        factors = sorted(gradient for step, gradient in known if step in newest)
        factor = factors[len(factors) // 2]
        per_step = windows[len(windows) // 2] if len(windows) > 1 else 1
        if not (_is_one(factor) or _is_one(factor * per_step)):  # else another optimizer than AMP's
            if self._scaling.value:  # seen last in the same backward pass as our last gradient
                factor = known[-1][1] / self._scaling.value
            elif per_step > 1 and _is_scale(factor * per_step):
                self._scaling.lead(self, per_step)
                self._tell(float(per_step), per_step)
                return
        self.is_curious = self._is_wanted
        self.factor = factor
        self._gradients.clear()
        if per_step > 1 and _is_one(factor * per_step):
            self.divisor = per_step
            self._tell(float(per_step), per_step)
        elif factor > 0 and not _is_one(factor):
            self._tell(1 / factor, per_step)


def _is_one(factor: float) -> bool:
    return abs(factor - 1) < TOLERANCE


def _is_scale(factor: float) -> bool:
    """Whether a factor is one of GradScaler's: a power of 2, up to what its arithmetic rounds off."""
    if not math.isfinite(factor) or abs(factor) < LEAST_SCALE:
        return False
    power = math.log2(abs(factor))
    return abs(power - round(power)) < TOLERANCE
