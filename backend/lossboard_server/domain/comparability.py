"""Why curves can't be compared in a view: stable codes and sentences with the runs' own numbers."""

from collections.abc import Callable, Sequence

from lossboard_server.domain.comparing import limits, mismatches
from lossboard_server.domain.comparing.facts import Facts, Reason

__all__ = ["Facts", "Reason", "compare"]

Finder = Callable[[Sequence[Facts]], Reason | None]

BETWEEN_RUNS: tuple[Finder, ...] = (
    mismatches.find_batch_sizes,
    mismatches.find_items,
    mismatches.find_reductions,
    mismatches.find_units,
    mismatches.find_world_sizes,
    mismatches.find_accumulation,
    mismatches.find_step_axis,
    mismatches.find_coverage,
    mismatches.find_weights,
    mismatches.find_resolution,
)
"""Reasons between the same split of several runs."""

IN_A_RUN: tuple[Finder, ...] = (
    limits.find_constants,
    limits.find_undeclared_meaning,
    limits.find_undeclared_epochs,
    limits.find_weight_units,
    limits.find_parts,
    limits.find_split_units,
)
"""Reasons that one run suffices for."""


def compare(facts: Sequence[Facts]) -> list[Reason]:
    """List the reasons why these curves, one of each split of each run, can't be laid over each other.

    A reason that holds for several splits is told of the first of them.
    """
    found: list[Reason | None] = [*limits.find_coupled(facts)]
    for split in dict.fromkeys(f.split for f in facts):
        group = [f for f in facts if f.split == split]
        found += [find(group) for find in BETWEEN_RUNS]
    if not any(reason and reason.code == "batch-size-differs" for reason in found):
        found.append(limits.find_splits(facts))
    found += [find(facts) for find in IN_A_RUN]
    kept: dict[tuple[str, ...], Reason] = {}
    for reason in found:
        if reason is not None:
            kept.setdefault((reason.code, *reason.views, "", *reason.axes), reason)
    return list(kept.values())
