"""What scripts hand to `log` in place of a plain number: a scalar of numpy's, a tensor of one element."""

from typing import Any

from lossboard import wire


def read_scalar(field: str, value: Any) -> Any:
    """Return the Python number in a scalar on the host; anything else as it is, for the wire to judge.

    Raises: wire.RecordError for an array of several, and for a value on a device, since
    reading it would wait for the device.
    """
    item = getattr(value, "item", None)
    if item is None:
        return value
    kind = getattr(getattr(value, "device", None), "type", "cpu")
    if kind != "cpu":
        raise wire.RecordError(field, f"is on {kind}; pass loss.item(), or let lossboard.watch read it")
    try:
        return item()
    except (ValueError, RuntimeError, TypeError):
        raise wire.RecordError(field, f"must be one number, not a {type(value).__name__}") from None
