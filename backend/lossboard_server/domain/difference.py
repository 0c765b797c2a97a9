"""The difference of two curves: how far one lies above another at the same place of an axis."""

import math
from bisect import bisect_left
from collections.abc import Sequence

Column = Sequence[float | None]


def subtract(x: Column, y: Column, base_x: Column, base_y: Column, *, is_joined: bool) -> list[float | None]:
    """Return y minus the baseline at each x; None where either has no finite value.

    `is_joined`: between its points the baseline is the straight line that is drawn there, as
    long as neither end of it is missing; else it is told at its own points only. Beyond its
    ends it is nothing.
    Shapes: x, y (n,); base_x ascending but for None, base_y (m,).
    """
    points = [(place, value) for place, value in zip(base_x, base_y, strict=True) if place is not None]
    places = [place for place, _ in points]
    values = [value for _, value in points]
    found: list[float | None] = []
    for place, value in zip(x, y, strict=True):
        base = None if place is None else _at(place, places, values, is_joined=is_joined)
        found.append(_minus(value, base))
    return found


def _at(
    place: float, places: Sequence[float], values: Sequence[float | None], *, is_joined: bool
) -> float | None:
    after = bisect_left(places, place)
    if after == len(places):
        return None
    if places[after] == place:
        return values[after]
    start, end = values[after - 1] if after else None, values[after]
    if not is_joined or start is None or end is None:
        return None
    share = (place - places[after - 1]) / (places[after] - places[after - 1])
    return start + (end - start) * share


def _minus(value: float | None, base: float | None) -> float | None:
    if value is None or base is None:
        return None
    difference = value - base
    return difference if math.isfinite(difference) else None
