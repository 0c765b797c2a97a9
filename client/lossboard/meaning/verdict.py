"""What a loss does with a batch, concluded from its values on parts of one; no loss is called here.

The parts are A, B and C; AB, BC, AC and ABC are unions of them, AA is A twice, and D and E
are the whole cut another way. A mean is
a ratio of two sums, so joining two parts gives a value between theirs, and where it lies
tells how much each part weighs: its *share*.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

# The tolerances below are in shares. How far a loss that is no mean strays was measured for powers 0.9 to 3,
# exp and log of a mean, 2,000 random parts each: from the items' shares by at least 0.014 × spread, from the
# shares that best explain it by at least 0.001 × the product of the smallest and the largest spread.
MEAN_PER_SPREAD: Final = 0.005
MEAN_TOLERANCE: Final = 1e-6  # lets through the 1e-8 that guards a division by zero
WEIGHTS_PER_SPREAD: Final = 0.0003
WEIGHTS_TOLERANCE: Final = 1e-5  # lets through the smoothing of most Dice losses
SMOOTHING: Final = 1e-7  # relative to the loss: less than that may still be what guards a division by zero
CLEARLY: Final = 4.0  # × tolerance: from here on a deviation is told as one; between the two lies doubt

Merge = tuple[str, str, str]  # two sets of items and their union
NESTED: Final[tuple[Merge, ...]] = (
    ("A", "B", "AB"),
    ("B", "C", "BC"),
    ("AB", "C", "ABC"),
    ("A", "BC", "ABC"),
)
PAIRS: Final[tuple[Merge, ...]] = (("A", "B", "AB"), ("B", "C", "BC"), ("A", "C", "AC"))
ALL: Final = (*NESTED, ("A", "C", "AC"))
HALVES: Final = ("D", "E", "ABC")
FEW_ITEMS: Final = 32  # in which parts may weigh alike by chance; the halves are asked then, too

CONTRADICTED: Final = " The weight that you gave does not explain it."
_NEARLY: Final = "It is nearly, but not quite, a weighted mean of this batch's items."


class Verdict(NamedTuple):
    """A finding in the wire's words, and the sentence that explains it."""

    finding: str
    reason: str


class Unclear(Exception):
    """What keeps a batch from telling what the loss does with it."""


class Judge:
    """Judge the values of one loss.

    `value` gives the loss of a set of items by its name, and is asked no more than needed;
    `sizes` has the items of A, B, C, D and E. `noise` is the relative rounding error of a value.
    `declared` has the weights of the parts by the user's word.
    """

    def __init__(
        self,
        value: Callable[[str], float],
        sizes: Mapping[str, int],
        noise: float,
        declared: Mapping[str, float] | None = None,
    ) -> None:
        self._value = value
        self._sizes = sizes
        self._noise = noise
        self._declared = declared

    def decide(self, has_reacted: Callable[[], bool]) -> Verdict:
        """Return the verdict; `has_reacted` tells whether other inputs give another value.

        Raises: Unclear where the batch can't tell.
        """
        names = ("A", "B", "C", "AB", "BC", "ABC")
        values = [self._value(name) for name in names]
        if not all(math.isfinite(value) for value in values):
            worst = next(name for name, value in zip(names, values, strict=True) if not math.isfinite(value))
            raise Unclear(f"The loss of {self._count(worst)} of the batch's items is {self._value(worst)}.")
        if max(values) - min(values) <= 4 * self._noise * max(map(abs, values)):
            return self._decide_equal(values[-1], has_reacted)
        if self._is_sum():
            a, rest, whole = (self._value(name) for name in ("A", "BC", "ABC"))
            said = f"Parts add up to the whole: {a:.6g} + {rest:.6g} = {whole:.6g}."
            return Verdict("sum", said)
        fits = self._declared is not None and self._follows(self._declared)
        if self._declared is not None and fits:
            return Verdict("mean_weighted", self._tell_mean("by the weight that you gave", self._declared))
        note = "" if self._declared is None else CONTRADICTED
        verdict = self._decide_undeclared()
        return verdict._replace(reason=verdict.reason + note)

    def _decide_equal(self, value: float, has_reacted: Callable[[], bool]) -> Verdict:
        if value == 0 or has_reacted():
            raise Unclear(f"All parts of the batch have the same loss, {value:.6g}.")
        return Verdict("constant", f"The loss is {value:.6g}, whatever the items and their values.")

    def _decide_undeclared(self) -> Verdict:
        if self._follows(self._sizes):
            if self._count("ABC") <= FEW_ITEMS and not self._fits(HALVES, self._sizes):
                raise Unclear("All parts of the batch weigh alike, but by chance.")
            return Verdict("mean", self._tell_mean("by their items", self._sizes))
        once = self._added_once()
        if once is not None:
            return Verdict("batch_coupled", f"It is a sum over the items plus {once:.6g} once per batch.")
        beyond = self._beyond()
        if beyond is not None:
            return Verdict("batch_coupled", beyond)
        weights = self._implied()
        if weights is None:
            return self._decide_non_additive()
        usual = self._weight(weights, "ABC") / self._count("ABC")
        each = ", ".join(f"{weights[part] / self._sizes[part] / usual:.3g}" for part in "ABC")
        return Verdict(
            "mean_weighted",
            f"It is a mean, but not all items weigh alike: in three parts of the batch {each} of the average;"
            " pass weight= to say what it is divided by.",
        )

    def _decide_non_additive(self) -> Verdict:
        first, twice = self._value("A"), self._value("AA")
        change = abs(twice - first) / abs(first or 1.0)
        if change > max(10 * SMOOTHING, CLEARLY * self._noise):
            said = f"The same {self._sizes['A']} items taken twice give {twice:.6g} instead of {first:.6g}."
            return Verdict("batch_coupled", said)
        if change > max(SMOOTHING / 100, 2 * self._noise):
            raise Unclear(_NEARLY)
        a, rest, whole = (self._value(name) for name in ("A", "BC", "ABC"))
        return Verdict(
            "non_linear",
            f"Parts with {a:.6g} and {rest:.6g} give {whole:.6g} together, and no weights of the items"
            " explain that in all parts; it may be a root or another function of a mean.",
        )

    def _is_sum(self) -> bool:
        values = {name: self._value(name) for name in ("A", "B", "C")}
        largest = max(map(abs, values.values()))
        if sum(abs(value) > 1e-3 * largest for value in values.values()) < 2:
            return False  # one part alone is also the largest
        return all(abs(self._excess(merge)) <= self._rounding(merge) for merge in NESTED)

    def _added_once(self) -> float | None:
        """Return what is left where all merges lack the same amount to be sums."""
        lacking = [-self._excess(merge) for merge in ALL]
        bound = max(self._rounding(merge) for merge in ALL)
        return lacking[0] if max(lacking) - min(lacking) <= bound < abs(lacking[0]) / CLEARLY else None

    def _follows(self, weights: Mapping[str, float]) -> bool:
        """Whether parts join as a mean by these weights; doubt where too few merges could deny it."""
        if not all(self._fits(merge, weights) for merge in NESTED):
            return False
        telling = sum(self._doubt(merge) <= MEAN_PER_SPREAD * self._spread(merge) for merge in NESTED)
        if telling < 2:
            raise Unclear("The losses of the batch's parts are too alike to tell how they are joined.")
        return True

    def _fits(self, merge: Merge, weights: Mapping[str, float]) -> bool:
        total = self._weight(weights, merge[2])
        if not total > 0:
            return False
        tolerance = min(MEAN_TOLERANCE, MEAN_PER_SPREAD * self._spread(merge)) * self._gap(merge)
        residual = self._residual(merge, self._weight(weights, merge[0]) / total)
        return residual <= max(tolerance, self._rounding(merge))

    def _implied(self) -> dict[str, float] | None:
        """Return the weights that explain all merges, A's being 1; None where none can.

        Raises: Unclear where rounding or like parts hide the difference.
        """
        spreads = [self._spread(merge) for merge in PAIRS]
        reach = min(spreads) * max(spreads)
        tolerance = max(
            min(WEIGHTS_TOLERANCE, WEIGHTS_PER_SPREAD * reach), *(4 * self._doubt(merge) for merge in ALL)
        )
        if tolerance > WEIGHTS_PER_SPREAD * reach or reach == 0:
            raise Unclear(
                "It is no plain mean over the items, but the parts of this batch are too alike to say more."
            )
        first, second = self._share(PAIRS[0]), self._share(PAIRS[1])
        b = (1 - first) / first
        weights = {"A": 1.0, "B": b, "C": b * (1 - second) / second}
        stray = smoothed = 0.0
        for merge in ALL[2:]:
            residual = self._residual(
                merge, self._weight(weights, merge[0]) / self._weight(weights, merge[2])
            )
            stray = max(stray, residual / self._gap(merge))
            smoothed = max(smoothed, residual / abs(self._value(merge[2]) or 1.0))
        if stray <= tolerance:
            return weights
        if stray <= CLEARLY * tolerance or smoothed <= SMOOTHING:
            raise Unclear(_NEARLY)
        return None

    def _beyond(self) -> str | None:
        """Say where joined parts leave the range of the parts, as no mean can; None where none does.

        Raises: Unclear where some, but not all, lie on the very edge.
        """
        on_edge = 0
        for merge in ALL:
            low, high = sorted((self._value(merge[0]), self._value(merge[1])))
            joined, bound = self._value(merge[2]), self._rounding(merge)
            if joined < low - CLEARLY * bound or joined > high + CLEARLY * bound:
                first, second = (f"{self._value(name):.6g}" for name in merge[:2])
                sizes = f"{self._count(merge[0])} and {self._count(merge[1])} items"
                return f"{sizes} give {first} and {second}, but {joined:.6g} together."
            on_edge += joined <= low + bound or joined >= high - bound
        if on_edge == 0:
            return None
        if on_edge < len(ALL) or min(self._gap(merge) for merge in PAIRS) == 0:
            raise Unclear("Some parts of this batch have no say in the loss.")
        whole = self._value("ABC")
        return f"One part alone decides the whole, {whole:.6g}, as in a maximum over the batch."

    def _tell_mean(self, how: str, weights: Mapping[str, float]) -> str:
        heavy, light = self._weight(weights, "A"), self._weight(weights, "BC")
        a, rest, whole = (self._value(name) for name in ("A", "BC", "ABC"))
        return (
            f"Parts join {how}:"
            f" ({heavy:.6g} × {a:.6g} + {light:.6g} × {rest:.6g}) ÷ {heavy + light:.6g} = {whole:.6g}."
        )

    def _weight(self, weights: Mapping[str, float], name: str) -> float:
        return sum(weights[part] for part in name)

    def _count(self, name: str) -> int:
        return sum(self._sizes[part] for part in name)

    def _gap(self, merge: Merge) -> float:
        return abs(self._value(merge[0]) - self._value(merge[1]))

    def _spread(self, merge: Merge) -> float:
        size = max(abs(self._value(merge[0])), abs(self._value(merge[1])))
        return min(1.0, self._gap(merge) / size) if size else 0.0

    def _rounding(self, merge: Merge) -> float:
        """Return by how much the values of a merge may be off."""
        return 2 * self._noise * max(abs(self._value(name)) for name in ("ABC", *merge))

    def _doubt(self, merge: Merge) -> float:
        """Return by how much a share may be off."""
        gap = self._gap(merge)
        return self._rounding(merge) / gap if gap else math.inf

    def _share(self, merge: Merge) -> float:
        first, second, joined = (self._value(name) for name in merge)
        return (joined - second) / (first - second)

    def _residual(self, merge: Merge, share: float) -> float:
        first, second, joined = (self._value(name) for name in merge)
        return abs(joined - (share * first + (1 - share) * second))

    def _excess(self, merge: Merge) -> float:
        first, second, joined = (self._value(name) for name in merge)
        return joined - first - second
