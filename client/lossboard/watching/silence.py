"""A watched loss that gives no training record, though training goes on: said once, with the remedy."""

from typing import Any, Final

SILENT_ITERATIONS: Final = 2  # one may be a peek, as many scripts begin


def notice_silence(run: Any, *, has_seen: bool, is_over: bool) -> None:
    """Warn where the loop has begun and no record of training came.

    `has_seen` tells whether the loss was called at all, `is_over` whether the run ends.
    Compiled training does not call a hook that came later, but its validation, compiled
    anew, does: then there are evaluations only.
    """
    position, steps = run._position, run._clock.count
    has_begun = position.arms >= SILENT_ITERATIONS
    if is_over:
        has_begun = bool(position.arms or position.is_declared or steps)
    is_evaluated = has_seen and not (steps and _has_only_evaluations(run))
    if not has_begun or is_evaluated:
        return
    if position.arms:
        begun = f"the watched loader was iterated {position.arms} times"
    else:
        begun = f"{steps} optimizer steps were made" if steps else "an epoch was told"
    run._warn("loss-not-called", f"{begun}, {_REMEDY}")


def _has_only_evaluations(run: Any) -> bool:
    return not any(name.startswith("train/") for name, *_ in run._outlet.numbers)


_REMEDY: Final = (
    "and the watched loss never called in training. If it runs inside torch.compile, call lossboard.watch"
    " before the first compiled call; otherwise watch the loss object, or call run.loss for a function, that"
    " the loop uses."
)
