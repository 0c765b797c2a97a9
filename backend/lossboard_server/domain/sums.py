"""Sums that keep what their rounding lost, so that merging in any order agrees to the last bits."""

import math
from collections.abc import Iterable

Sum = tuple[float, float]
"""A compensated sum: the rounded value and what the rounding lost."""

ZERO: Sum = (0.0, 0.0)


def add_sums(a: Sum, b: Sum) -> Sum:
    """Add two compensated sums.

    Source: Knuth's two-sum, the errors carried along (SEMANTICS §4.1).
    """
    high = a[0] + b[0]
    part = high - a[0]
    low = (a[0] - (high - part)) + (b[0] - part) + a[1] + b[1]
    total = high + low
    if not math.isfinite(total):  # an overflow: its error term would be NaN, and so would ∞ − ∞
        return (math.inf if total != total else total, 0.0)
    return (total, low - (total - high))


def sum_exactly(values: list[float]) -> Sum:
    """Sum a list with one rounding, and keep what it lost; −sum is left at the list's end.

    Cost: two passes in C.
    """
    try:
        total = math.fsum(values)
        if not math.isfinite(total):
            return (total, 0.0)
        values.append(-total)
        return (total, math.fsum(values))
    except (OverflowError, ValueError):  # finite losses whose sum, or whose own product, is beyond a double
        total = sum(values)
        return (math.inf if total != total else total, 0.0)


def add_all(values: Iterable[float]) -> float:
    """Sum with one rounding; infinite where that is beyond a double."""
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):  # losses near the end of the doubles
        return math.inf
