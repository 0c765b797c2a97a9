"""What a benchmark measured, and how it is shown: JSON lines between processes, a table to people."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Figure(NamedTuple):
    """One measured number."""

    what: str
    value: float
    unit: str


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the values lie, without interpolation."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(what: str, times_ns: Sequence[int]) -> list[Figure]:
    """Describe times by their quantiles, in microseconds."""
    shares = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    return [
        Figure(f"{what}, {name}", quantile(times_ns, share) / 1e3, "µs") for name, share in shares.items()
    ]


def report(figures: Iterable[Figure]) -> None:
    """Print figures so that the runner can read them."""
    for figure in figures:
        print(json.dumps(figure._asdict()), flush=True)


def size(full: int) -> int:
    """Return how many repetitions to make: all, or a twentieth with --quick."""
    return max(1, full // 20) if "--quick" in sys.argv else full


def show_table(figures: Sequence[Figure]) -> None:
    """Print figures as a table."""
    width = max(len(figure.what) for figure in figures)
    for figure in figures:
        print(f"  {figure.what:<{width}}  {_readable(figure.value):>12} {figure.unit}")


def _readable(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value < 10 else f"{value:.1f}"
