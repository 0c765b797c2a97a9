"""Evaluations of a loss that a client counts and rightly does not record: no record is lost by them."""

from collections.abc import Mapping
from typing import Final

OMISSIONS: Final = {
    "closure": "An optimizer evaluated its closure again inside one step; the first evaluation counts.",
    "empty-batch": "A batch held no items, so its loss of 0 measured nothing.",
    "monitoring": "Gradients were on, but the loss needed none: a look at it, and no training.",
    "recompute": "Activation checkpointing evaluated the loss again on the way back.",
    "skipped-step": "The gradient scaler skipped a step over gradients that were not finite.",
    "weight-failed": "The weight= of the script failed; its losses are recorded by what is known without it.",
}
"""What a client calls each, and what happened."""


def split_counts(counts: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Split what clients counted by reason into losses of records and omissions."""
    lost = {reason: count for reason, count in counts.items() if reason not in OMISSIONS}
    left_out = {reason: count for reason, count in counts.items() if reason in OMISSIONS}
    return lost, left_out
