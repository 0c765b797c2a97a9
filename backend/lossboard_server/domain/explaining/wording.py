"""How numbers, counts and units are said in sentences."""

import math
from collections.abc import Sequence

UNITS = {
    "items": ("item", "items"),
    "elements": ("element", "elements"),
    "tokens": ("token", "tokens"),
    "class_weight": ("class weight", "class weight"),
}

MAX_TERMS = 6  # of a sum that is written out


def say(number: float | None, digits: int = 5) -> str:
    """Write a number for a reader: whole ones in full, others to `digits` significant digits."""
    if number is None:
        return "nothing"
    if not math.isfinite(number):
        return "NaN" if number != number else "∞" if number > 0 else "−∞"
    if number == int(number) and abs(number) < 1e15:
        return f"{int(number):,}".replace("-", "−")
    text = f"{number:.{digits}g}"
    if "e" in text:
        mantissa, exponent = text.split("e")
        text = f"{number:,.0f}" if 0 < int(exponent) < 15 else f"{mantissa} × 10^{int(exponent)}"
    return text.replace("-", "−")


def count(number: int, one: str, many: str | None = None) -> str:
    """Write a count with its noun: "1 batch", "1,563 batches"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def weigh(weight: float, unit: str) -> str:
    """Write an amount of weight: "8 items", "12.5 class weight"."""
    return f"{say(weight)} {UNITS[unit][weight != 1]}"


def add_up(terms: Sequence[float], digits: int = 5) -> str:
    """Write a sum out: "4.5 + 3 − 2", the middle of a long one as "…"."""
    if is_long(terms):
        shown = [say(terms[0], digits), say(terms[1], digits), "…", say(terms[-1], digits)]
    else:
        shown = [say(term, digits) for term in terms]
    first, *others = shown
    return first + "".join(f" − {term[1:]}" if term.startswith("−") else f" + {term}" for term in others)


def is_long(terms: Sequence[float]) -> bool:
    """Tell whether `add_up` leaves terms out."""
    return len(terms) > MAX_TERMS


def compare(size: float) -> str:
    """Write a difference: "0.111 below"."""
    return f"{say(abs(size), 3)} {'above' if size > 0 else 'below'}"
