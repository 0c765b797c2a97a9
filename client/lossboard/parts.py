"""Losses that come as several named values: which they are, and whether they add up to their total."""

import math
from collections.abc import Mapping
from typing import Any, Final

TOTALS: Final = ("loss", "total", "total_loss", "loss_total")  # what scripts call the sum among its parts
MAX_CHECKED: Final = 256  # evaluations, those included whose factors are not known yet
GAP_TOLD: Final = 1e-3  # relative; below it lies the rounding of a bfloat16 sum


def read_parts(torch: Any, output: Any) -> dict[str, Any] | None:
    """Return the named scalar tensors of a mapping or a named tuple; None where it holds none.

    What is no scalar tensor in it (logits, say) is left out.
    """
    if hasattr(output, "_asdict"):
        output = output._asdict()
    if not isinstance(output, Mapping):
        return None
    parts = {
        str(name): value
        for name, value in output.items()
        if isinstance(value, torch.Tensor) and value.numel() == 1 and value.is_floating_point()
    }
    return parts or None


def name_part(series: str, part: str) -> str:
    """Return the series of a part: the total has the watched loss's own name."""
    if part in TOTALS:
        return series
    part = part.replace("/", ".")
    return part if series == "loss" else f"{series}.{part}"


class PartsCheck:
    """Compare a total with the sum of its parts, each times the factor that its gradient shows.

    Only values that could be read at once are compared: an accelerator is not waited for.
    """

    def __init__(self, run: Any) -> None:
        self._run = run
        self._left = MAX_CHECKED
        self._gap = 0.0

    def look(self, channels: Mapping[str, Any]) -> None:
        """Look at one call's channels, by part."""
        if self._left == 0:
            return
        self._left -= 1
        factors = {name: channel.backward.factor for name, channel in channels.items()}
        if None in factors.values():  # a part whose gradient never comes has no factor that we could see
            return
        whole = next((name for name in TOTALS if name in channels), None)
        total = None if whole is None else channels[whole]
        parts = {name: channel for name, channel in channels.items() if name != whole}
        if not parts:
            return
        scale = (None if whole is None else factors[whole]) or 1.0
        relative = {name: factors[name] / scale for name in parts}
        owner = total or next(iter(parts.values()))
        told = {parts[name].names["train"]: factor for name, factor in relative.items()}
        self._run._tell_traits(owner.names["train"], parts=told)
        if total is not None:
            self._compare(total, parts, relative)

    def _compare(self, total: Any, parts: Mapping[str, Any], factors: Mapping[str, float]) -> None:
        values = [channel.last for channel in parts.values()]
        if total.last is None or None in values:
            return
        added = sum(factors[name] * channel.last for name, channel in parts.items())
        size = max(abs(total.last), abs(added))
        gap = abs(total.last - added) / size if size and math.isfinite(size) else 0.0
        if gap <= max(self._gap, GAP_TOLD):
            return
        self._gap = gap
        name = total.names["train"]
        self._run._tell_traits(name, parts_gap=gap)
        said = " + ".join(f"{factors[part]:.4g} × {part}" for part in parts)
        self._run._warn(
            f"parts-{name}",
            f"{name} is {total.last:.6g}, and {said} is {added:.6g}: something else is in the total, a"
            " regulariser perhaps, or a part without a gradient.",
        )
