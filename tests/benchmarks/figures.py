"""What a benchmark measured, and how it is shown: JSON lines between processes, one table to people."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

OURS: Final = "lossboard"
QUICK: Final = 20  # --quick makes a twentieth of the repetitions, --quick=N one in N


class Figure(NamedTuple):
    """One measured number; `budget` is the most that it should be, `whose` the column it belongs to."""

    what: str
    value: float
    unit: str
    budget: float | None = None
    whose: str = OURS
    is_least: bool = False
    """The budget is the least that it should be."""


@dataclass(slots=True)
class Row:
    """One line of the table: the same thing measured of us, of the floor and of the peers."""

    what: str
    unit: str
    budget: float | None = None
    is_least: bool = False
    values: dict[str, float] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether we take more than our budget, or reach less than it."""
        if self.budget is None or OURS not in self.values:
            return False
        value = self.values[OURS]
        return value < self.budget if self.is_least else value > self.budget

    @property
    def limit(self) -> str:
        """The budget in words."""
        return "" if self.budget is None else f"{'≥ ' if self.is_least else ''}{self.budget:g}"


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which `share` of the values lie, without interpolation."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def report(figures: Iterable[Figure]) -> None:
    """Print figures so that the runner can read them."""
    for figure in figures:
        print(json.dumps(figure._asdict()), flush=True)


def note(text: str) -> None:
    """Print a sentence that belongs below the table."""
    print(json.dumps({"note": text}), flush=True)


def size(full: int) -> int:
    """Return how many repetitions to make: all, or a part of them with --quick."""
    asked = [argument.partition("=")[2] for argument in sys.argv if argument.startswith("--quick")]
    return max(1, full // (int(asked[0] or QUICK) if asked else 1))


def arrange(figures: Iterable[Figure]) -> list[Row]:
    """Put what was measured of several into one row; the rows stand as they were measured."""
    rows: list[Row] = []
    for figure in figures:
        same = (r for r in rows if (r.what, r.unit) == (figure.what, figure.unit))
        row = next((r for r in same if figure.whose not in r.values), None)
        if row is None:
            row = Row(figure.what, figure.unit)
            rows.append(row)
        row.values[figure.whose] = figure.value
        if row.budget is None:
            row.budget, row.is_least = figure.budget, figure.is_least
    return rows


def show_table(rows: Sequence[Row]) -> str:
    """Lay rows out for a terminal."""
    cells = list(_lay_out(rows))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = []
    for what, unit, *numbers in cells:
        right = "  ".join(number.rjust(width) for number, width in zip(numbers, widths[2:], strict=True))
        lines.append(f"{what:<{widths[0]}}  {unit:<{widths[1]}}  {right}".rstrip())
    return "\n".join(lines)


def show_markdown(rows: Sequence[Row]) -> str:
    """Lay rows out as a table in Markdown."""
    head, *body = (f"| {' | '.join(cells)} |" for cells in _lay_out(rows))
    columns = head.count("|") - 3
    return "\n".join([head, "|---|---|" + "---:|" * columns, *body])


def show_over(rows: Sequence[Row]) -> str:
    """Say what is over its budget."""
    over = [row for row in rows if row.is_over]
    if not over:
        return "Nothing is over its budget."
    told = (
        f"  {row.what}: {_readable(row.values[OURS])} {row.unit}, budget {row.limit} {row.unit}"
        for row in over
    )
    return "\n".join(["Over budget:", *told])


def _lay_out(rows: Sequence[Row]) -> Iterator[list[str]]:
    """Yield the head and then the cells of each row; peers that were not measured have no column."""
    columns = list(dict.fromkeys([OURS, *(whose for row in rows for whose in row.values)]))
    yield ["what", "unit", *columns, "budget"]
    for row in rows:
        values = [_readable(row.values[whose]) if whose in row.values else "" for whose in columns]
        yield [row.what, row.unit, *values, row.limit]


def _readable(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
