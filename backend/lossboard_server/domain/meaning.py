"""What one record's number means: its value, its mean over the batch, and its weight."""

import math
from enum import IntEnum
from typing import NamedTuple

from lossboard import wire


class Reduction(IntEnum):
    """How the framework made one number out of a batch; the integers are stored."""

    MEAN = 0
    SUM = 1
    SUM_OVER_WINDOW = 2
    UNKNOWN = 3

    @classmethod
    def named(cls, name: str) -> "Reduction":
        """Return the reduction that the wire calls `name`."""
        return cls(wire.REDUCTIONS.index(name))

    @property
    def wire_name(self) -> str:
        """The name on the wire."""
        return wire.REDUCTIONS[self]


class Evaluation(NamedTuple):
    """The numbers of one record that arithmetic needs; None as in `lossboard.wire.Record`."""

    loss: float
    batch_size: int | None
    weight: float | None
    divisor: float | None
    window_items: float | None
    reduction: Reduction


class Measured(NamedTuple):
    """One record read: v as the framework returned it, m per unit of weight, its weight.

    `weight` None: the meaning is undeclared, m is v and can't be averaged honestly.
    """

    v: float
    m: float
    weight: float | None


def measure(evaluation: Evaluation) -> Measured:
    """Read a record by its reduction: m is v, v ÷ weight, or v × window ÷ weight.

    m is NaN where weight is 0: nothing was measured.
    Source: SEMANTICS §0.2; KLDiv's batchmean arrives as a mean of weight N.
    """
    loss, batch_size, weight, divisor, window_items, reduction = evaluation
    v = loss if divisor is None else loss * divisor
    if weight is None:
        weight = batch_size
    if weight is None or reduction is Reduction.UNKNOWN:
        return Measured(v, v, None)
    if weight == 0:
        return Measured(v, math.nan, 0.0)
    if reduction is Reduction.MEAN:
        return Measured(v, v, weight)
    if reduction is Reduction.SUM:
        return Measured(v, v / weight, weight)
    return Measured(v, v * (window_items or math.nan) / weight, weight)
