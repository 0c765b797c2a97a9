"""Which training frameworks a run used, as its environment names them, and what they have printed."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Version = tuple[int, ...]

MAX_SHOWN = 8  # values of a sequence that are all shown; of a longer one the first four and the last


@dataclass(slots=True)
class Printout:
    """A number, or a sequence of them, that a tool would have printed for the epoch.

    `value` and `values` both None: it can't be told, and the reason says why. `is_yours`: the
    run's environment names the tool, in one of these versions.
    """

    tool: str
    versions: str
    what: str
    formula: str
    reason: str
    value: float | None = None
    values: list[float] | None = None
    is_yours: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the wire's form, which has one of value and values."""
        told = {"value": self.value} if self.values is None else {"values": self.values}
        return {
            "tool": self.tool,
            "versions": self.versions,
            "what": self.what,
            **told,
            "formula": self.formula,
            "reason": self.reason,
            "is_yours": self.is_yours,
        }


def outline(values: Sequence[float]) -> list[float]:
    """Return a sequence as it is shown: a long one by its first four values and its last."""
    return list(values) if len(values) <= MAX_SHOWN else [*values[:4], values[-1]]


def say_outline(values: Sequence[float]) -> str:
    """Tell what `outline` left out, to stand after a reason; nothing where it is all there."""
    return "" if len(values) <= MAX_SHOWN else f" Shown: the first four of {len(values):,} and the last."


def read_version(text: str) -> Version:
    """Return the leading numbers of a version: (3, 15) of "3.15.0rc1" would be a lie, so (3, 15, 0)."""
    return tuple(int(number) for number in re.findall(r"\d+", text.split("+")[0])[:3])


def find_version(frameworks: Mapping[str, str], *names: str) -> Version | None:
    """Return the version of the first of these frameworks that the run used; None if it used none."""
    for name in names:
        if name in frameworks:
            return read_version(str(frameworks[name]))
    return None


def is_plain_torch(frameworks: Mapping[str, str]) -> bool:
    """Tell whether a run used PyTorch and nothing that would run its loop."""
    loops = "keras tensorflow lightning pytorch_lightning transformers fastai ignite ultralytics".split()
    return "torch" in frameworks and not any(name in frameworks for name in loops)
