"""Losses that come as several named values: which they are, and whether they add up to their total."""

import math
from collections.abc import Container, Mapping
from typing import Any, Final

from lossboard import wire

# What scripts call the sum among its parts; beside one of the others "loss" is a part.
TOTALS: Final = ("total_loss", "loss_total", "total", "loss")
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


def find_total(parts: Container[str]) -> str | None:
    """Return which of these parts is the sum of the others; None where none is called so."""
    return next((name for name in TOTALS if name in parts), None)


def name_part(series: str, part: str, total: str | None) -> str:
    """Return the series of a part: the total has the watched loss's own name.

    Raises: RecordError for a name that no series may have.
    """
    if part == total:
        return series
    name = part.replace("/", ".")
    # A part that is called as the loss itself is beside the total.
    name = name if series == "loss" and name != "loss" else f"{series}.{name}"
    return wire.check_series_name(f"train/{name}").removeprefix("train/")


class PartsCheck:
    """Compare a total with the sum of its parts, each times the factor that its gradient shows.

    Factors may change with each step, as those that are warmed up do: values are held against
    the gradients of their own evaluation. Only values that could be read at once are compared:
    an accelerator is not waited for.
    """

    def __init__(self, run: Any) -> None:
        self._run = run
        self._looked = 0
        self._is_told = False
        self._gap = 0.0
        self._before: dict[str, tuple[int, float | None]] = {}  # values of the evaluation before, numbered

    def look(self, channels: Mapping[str, Any]) -> None:
        """Look at one call's channels, by part."""
        if self._looked > MAX_CHECKED:
            return
        self._looked += 1
        if len(channels) > 1:
            self._check(channels)
        for channel in channels.values():
            channel.backward.want(is_wanted=self._looked <= MAX_CHECKED)
        self._before = {name: (each.backward.observed, each.last) for name, each in channels.items()}

    def _check(self, channels: Mapping[str, Any]) -> None:
        newest = {name: channel.backward.newest for name, channel in channels.items()}
        if None in newest.values() or len({number for number, _ in newest.values()}) > 1:
            return  # a part whose gradient never comes has no factor that we could see
        gradients = {name: gradient for name, (_, gradient) in newest.items()}
        whole = find_total(channels)
        unit = _unit(channels, gradients) if whole is None else gradients[whole]
        if not unit or not all(map(math.isfinite, gradients.values())):
            return
        factors = {name: gradient / unit for name, gradient in gradients.items() if name != whole}
        owner = channels[whole or next(iter(channels))]
        if not self._is_told or self._looked & (self._looked - 1) == 0:  # ever more seldom
            self._is_told = True
            told = {channels[name].names["train"]: factor for name, factor in factors.items()}
            self._run._outlet.tell(owner.names["train"], parts=told)
        values = {
            name: value
            for name, (number, value) in self._before.items()
            if value is not None and name in newest and number == newest[name][0]
        }
        if whole is not None and values.keys() == channels.keys():
            self._compare(owner.names["train"], values.pop(whole), values, factors)

    def _compare(
        self, name: str, total: float, values: Mapping[str, float], factors: Mapping[str, float]
    ) -> None:
        added = sum(factors[part] * value for part, value in values.items())
        size = max(abs(total), abs(added))
        gap = abs(total - added) / size if size and math.isfinite(size) else 0.0
        if gap <= max(self._gap, GAP_TOLD):
            return
        self._gap = gap
        self._run._outlet.tell(name, parts_gap=gap)
        said = " + ".join(f"{factors[part]:.4g} × {part}" for part in values)
        self._run._warn(
            f"parts-{name}",
            f"{name} is {total:.6g}, and {said} is {added:.6g}: something else is in the total, a"
            " regulariser perhaps, or a part without a gradient.",
        )


def _unit(channels: Mapping[str, Any], gradients: Mapping[str, float]) -> float | None:
    """Return the gradient of a part with factor 1, where the script adds the parts up itself.

    None until the largest one's factor is known, which tells AMP's scale and accumulation from it.
    """
    largest = max(gradients, key=lambda name: abs(gradients[name]))
    backward = channels[largest].backward
    if not backward.factor:
        return None
    return gradients[largest] / float(backward.factor * backward.divisor)
