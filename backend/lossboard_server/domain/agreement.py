"""Whether two summaries tell of the same records: counts and extremes exactly, sums to their last bits."""

import math
from dataclasses import fields

from lossboard_server.domain.epoch_pyramid import EpochBucket
from lossboard_server.domain.summary import Summary

MAX_ULPS = 2  # of a compensated sum, whatever the order in which it was made
_SUMS = frozenset({"weight", "weighted", "v", "m", "sized"})
_EXACT = tuple(field.name for field in fields(Summary) if field.name not in _SUMS | {"m2"})
_EPSILON = math.ulp(1.0)
_NEAR_OVERFLOW = 1e290  # sums of losses near the end of the doubles are finite or not by their order


def agrees(a: Summary, b: Summary) -> bool:
    """Tell whether two summaries are of the same records, merged in whatever order."""
    if any(getattr(a, name) != getattr(b, name) for name in _EXACT):
        return False
    greatest = max(abs(a.low or 0.0), abs(a.high or 0.0))
    # What cancels out leaves the rounding errors of the parts, and those stand in the pairs' second halves.
    noise = greatest * max(1.0, a.items, a.weight[0]) * max(1, a.count) * _EPSILON**1.8
    return all(_is_near(sum(x), sum(y), noise) for x, y in _sums(a, b)) and _spreads_alike(a, b, greatest)


def agrees_as_bucket(a: EpochBucket, b: EpochBucket) -> bool:
    """Tell whether two buckets are of the same epochs."""
    return (
        agrees(a.summary, b.summary)
        and (a.points, a.ranks, a.views.keys()) == (b.points, b.ranks, b.views.keys())
        and math.isclose(a.batches, b.batches, rel_tol=1e-12)
        and all(_views_agree(a.views[name], b.views[name]) for name in a.views)
    )


def _sums(a: Summary, b: Summary) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    return [(getattr(a, name), getattr(b, name)) for name in sorted(_SUMS)]


def _is_near(x: float, y: float, noise: float) -> bool:
    if not (math.isfinite(x) and math.isfinite(y)):
        return x == y or min(abs(x), abs(y)) > _NEAR_OVERFLOW
    return abs(x - y) <= max(MAX_ULPS * math.ulp(max(abs(x), abs(y))), noise)


def _spreads_alike(a: Summary, b: Summary, greatest: float) -> bool:
    """Compare the scatters: of losses that hardly differ, it is what their rounding makes of it."""
    if not (math.isfinite(a.m2) and math.isfinite(b.m2)):
        return _is_near(a.m2, b.m2, 0.0)
    unit = 64 * _EPSILON * greatest
    rounding = unit * math.sqrt(a.items * max(a.m2, b.m2)) + unit * unit * a.items
    return abs(a.m2 - b.m2) <= 1e-9 * max(a.m2, b.m2) + rounding


def _views_agree(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] == b[0] and all(x == y or math.isclose(x, y, rel_tol=1e-9) for x, y in zip(a, b, strict=True))
