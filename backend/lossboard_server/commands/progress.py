"""Progress on standard error: how much, how fast, how long still; nothing where no terminal is."""

import sys
from typing import Any, Final

UNITS: Final = {"bytes": ("B", 1024), "records": (" records", 1000)}


def make_bar(what: str, total: int | None, unit: str = "records", done: int = 0) -> Any:
    """Make a progress bar, a context manager with `update(more)`; it takes its line away at the end.

    `total` None: it is not known, and no percentage is shown.
    """
    from tqdm import tqdm  # needs the extra `server`

    name, divisor = UNITS[unit]
    return tqdm(
        desc=what,
        total=total,
        initial=done,
        unit=name,
        unit_scale=True,
        unit_divisor=divisor,
        leave=False,
        disable=None,  # where standard error is no terminal
        file=sys.stderr,
        dynamic_ncols=True,
    )


def tell_bytes(size: int) -> str:
    """Return a size as a person reads it."""
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.3g} {unit}" if unit != "B" else f"{size} B"
        value /= 1000
    return f"{value:,.1f} GB"
