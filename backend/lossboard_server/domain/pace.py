"""How often a run records, learnt from its gaps, and after how long a silence it is called stalled.

A gap is the time between two neighbouring records of a run, of any series and rank, as they
were logged. Neither mean nor median of the gaps would do: a loop that logs twenty losses at
once, once an epoch, has nineteen gaps of nothing and one of an epoch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import mul

LOST_AFTER_S = 30.0  # three heartbeats of a client
STALLED_AFTER_S = 60.0  # at the least
STALLED_INTERVALS = 10
MEMORY_S = 3600.0  # a loop that changes its pace is known by the new one after about this time
FIRST_GAP_WEIGHT_S = 10.0  # of the way to the first record: loading data may take long, and says little


@dataclass(frozen=True, slots=True)
class Pace:
    """The usual interval between records, and the pauses that a run came back from.

    Units: all in seconds. `usual_s` is Σ gap² ÷ Σ gap, the length of the gap that a moment of
    the run falls into on average; None before the first record. `over_s` is what it was learnt
    from. `pause_s` is the longest pause that is taken for usual, such as a validation.
    """

    usual_s: float | None = None
    over_s: float = 0.0
    pause_s: float = 0.0

    @property
    def stalled_after_s(self) -> float | None:
        """The silence after which it is stalled; None where nothing tells yet how often it records."""
        if self.usual_s is None:
            return None
        return max(STALLED_AFTER_S, STALLED_INTERVALS * self.usual_s, 2 * self.pause_s)

    @property
    def lost_after_s(self) -> float:
        """The same for a run whose records are its only sign of life."""
        return max(LOST_AFTER_S, STALLED_INTERVALS * (self.usual_s or 0.0))

    def begin(self, gap_s: float) -> "Pace":
        """Take the way to an attempt's first record for an interval where no better is known."""
        if self.usual_s is not None:
            return self
        return replace(self, usual_s=gap_s, over_s=min(gap_s, FIRST_GAP_WEIGHT_S))

    def after(self, gaps: Sequence[float]) -> "Pace":
        """Return the pace with more gaps known.

        A gap longer than what would have been called stalled counts as that: one hang of three
        hours makes no interval usual. As a pause it counts up to twice that, so that a pause
        that comes again and again is soon known, whatever its length.
        Cost: O(n), about 0.1 µs a gap.
        """
        limit = self.stalled_after_s or STALLED_AFTER_S
        longest = max(gaps, default=0.0)
        if longest > limit:
            gaps = [min(gap, limit) for gap in gaps]
        total = sum(gaps)
        if total <= 0:
            return self
        squares = sum(map(mul, gaps, gaps))
        usual = ((self.usual_s or 0.0) * self.over_s + squares) / (self.over_s + total)
        pause = max(self.pause_s, min(longest, 2 * limit)) if longest > STALLED_AFTER_S else self.pause_s
        return Pace(usual, min(self.over_s + total, MEMORY_S), pause)
