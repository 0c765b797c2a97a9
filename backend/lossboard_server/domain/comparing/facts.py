"""What comparing needs to know of a series, and the form in which a reason against it is told."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

SUMS = ["raw_sum", "normalized_sum"]
TRAIN = "train"


@dataclass(slots=True)
class Facts:
    """What comparing needs to know of one run's series; None where nothing tells it.

    Numbers of an epoch are those of its newest complete one.
    Units: level, std_error and resolution in the loss's own unit.
    """

    run: str
    name: str
    series: str
    reduction: str
    weight_unit: str
    weight_source: str
    batch_size: int | None = None
    batches: int | None = None
    """Batches of an epoch, those that ranks trained side by side counted once."""
    items: int | None = None
    is_declared: bool = True
    weight_differs: bool = False
    """Σ weight ≠ Σ batch_size: the normalized sum is not a total of items."""
    finding: str | None = None
    ranks: int | None = None
    accumulation: float | None = None
    """Micro-batches a step."""
    dataset_items: int | None = None
    level: float | None = None
    std_error: float | None = None
    dtype: str | None = None
    resolution: float | None = None
    parts_gap: float | None = None

    @property
    def split(self) -> str:
        """The part of the series' name before the first slash."""
        return self.series.split("/", 1)[0]

    @property
    def label(self) -> str:
        """The run's name, with the split where it is not training."""
        return self.name if self.split == TRAIN else f"{self.name} in {self.split}"

    @property
    def coverage(self) -> float | None:
        """Items seen ÷ items of the data set."""
        return self.items / self.dataset_items if self.items is not None and self.dataset_items else None

    @property
    def has_item_mean(self) -> bool:
        """Whether anything but single batches can be told of it."""
        return self.reduction != "unknown"


@dataclass(slots=True)
class Reason:
    """One reason, a warning on the wire.

    `views` empty means that it holds in every view, `axes` empty on every axis.
    """

    code: str
    views: list[str]
    axes: list[str]
    runs: list[str]
    message: str
    suggest: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the wire's form."""
        return asdict(self)


def warn(
    code: str, facts: Sequence[Facts], message: str, views: Sequence[str] = (), axis: str = "", **suggest: str
) -> Reason:
    """Make a reason that concerns these facts' runs."""
    runs = list(dict.fromkeys(f.run for f in facts))
    return Reason(code, list(views), [axis] if axis else [], runs, message, suggest)


def listed(facts: Sequence[Facts]) -> str:
    """Name the runs of these facts."""
    return ", ".join(f.label for f in facts)
