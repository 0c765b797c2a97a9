"""Smoothing by items: an average that forgets with what was seen, not with how it was cut into batches.

For the eye only: nothing else is computed from a smoothed value.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(slots=True)
class Smoothing:
    """A bias-corrected moving average on its way; kept, it carries on where it stood.

    Units: half_life in items, above 0.
    """

    half_life: float
    value: float = 0.0
    weight: float = 0.0

    def follow(self, mean: float | None, items: int) -> float | None:
        """Take the mean of the next `items` items; what isn't finite, or of no items, moves nothing.

        Source: SEMANTICS §4.5.
        """
        if mean is None or items <= 0 or not math.isfinite(mean):
            return None
        keep = math.exp2(-items / self.half_life)
        take = -math.expm1(-items / self.half_life * math.log(2))  # 1 − keep, exact also for few items
        self.value = self.value * keep + take * mean
        self.weight = self.weight * keep + take
        return self.value / self.weight if self.weight else None


def smooth(
    means: Iterable[float | None],
    items: Iterable[int | None],
    half_life: float,
    state: Smoothing | None = None,
) -> list[float | None]:
    """Smooth means of batches by their items; an undeclared size counts as one item.

    `state` carries on from what came before, and stands after the last mean when this returns.
    Shapes: means and items (n,).
    """
    state = Smoothing(half_life) if state is None else state
    return [state.follow(mean, 1 if n is None else n) for mean, n in zip(means, items, strict=True)]
