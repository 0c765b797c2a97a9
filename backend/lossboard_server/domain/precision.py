"""How finely a type of number can tell two losses apart."""

import math

# Bits of the significand, and the exponent of the smallest normal number.
_TYPES = {"float64": (53, -1022), "float32": (24, -126), "float16": (11, -14), "bfloat16": (8, -126)}


def resolution(dtype: str, value: float) -> float:
    """Return the distance from `value` to the next number of that type; NaN where it isn't finite.

    Near 2.3 it is 1/64 for bfloat16 and 1/512 for float16.
    Raises: ValueError for a type that is none of float64, float32, bfloat16, float16.
    """
    if dtype not in _TYPES:
        raise ValueError(f"{dtype!r} is none of {', '.join(_TYPES)}")
    if not math.isfinite(value):
        return math.nan
    bits, smallest = _TYPES[dtype]
    exponent = max(math.frexp(value)[1] - 1, smallest) if value else smallest
    return math.ldexp(1.0, exponent - bits + 1)
