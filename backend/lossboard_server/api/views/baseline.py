"""Curves against a baseline: how far each lies above the curve of one run, in every view that both have."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lossboard_server.domain.difference import subtract
from lossboard_server.errors import FieldError, InvalidInput


def check_baseline(axis: str) -> None:
    """Refuse an axis on which two runs never stand at the same place.

    Raises: InvalidInput.
    """
    if axis == "time":
        message = "means nothing over time: the runs trained at different times; take x=items"
        raise InvalidInput(f"A baseline {message}", [FieldError("baseline", message)])


def add_differences(
    curves: Iterable[dict[str, Any]], baseline: Iterable[Mapping[str, Any]], axis: str
) -> Iterator[dict[str, Any]]:
    """Yield curves with `differences` by view: null where the baseline has no such series, or nothing there.

    The epochs of training are compared one with one; else the baseline is the line between its points.
    """
    known = {curve["series"]: curve for curve in baseline}
    for curve in curves:
        base = known.get(curve["series"])
        is_train = curve["series"].startswith("train/")
        yield curve | {
            "differences": None
            if base is None
            else {
                name: subtract(
                    *(curve["x"], column, base["x"], base["views"][name]),
                    is_joined=axis != "epoch" or not is_train,
                )
                for name, column in curve["views"].items()
                if name in base["views"]
            }
        }
