"""What `run.log` is given: one batch, checked by the wire's rules, or a mapping of undeclared values."""

from collections.abc import Mapping
from typing import Any

from lossboard import wire
from lossboard.scalars import read_scalar
from lossboard.watching.position import UNDECLARED


def log_batch(
    run: Any,
    epoch: Any,
    batch: Any,
    loss: Any,
    batch_size: Any,
    series: Any,
    split: Any,
    reduction: Any,
    weight: Any,
) -> None:
    """Check one batch's record and append it; from then on `run.log` knows the fast way for its like.

    Raises: wire.RecordError naming what is wrong.
    """
    loss = wire.check_loss(read_scalar("loss", loss))
    size = wire.check_optional("batch_size", read_scalar("batch_size", batch_size), wire.MAX_SMALL)
    weight = wire.check_weight(read_scalar("weight", weight))
    epoch = wire.check_epoch(read_scalar("epoch", epoch))
    batch = wire.check_whole("batch", read_scalar("batch", batch), wire.MAX_POSITION)
    wire.check_choice("reduction", reduction, wire.REDUCTIONS)
    wire.check_together(loss, size, reduction, None)
    name = wire.series_name(series, None if isinstance(series, str) and "/" in series else split)
    source = "assumed" if weight is None else "declared"
    number = run._outlet.number_of(name, reduction, "items", source)
    if not run._has_records and epoch is not None:
        run._outlet.start_at(epoch, batch if name.startswith("train/") else 0)
    epoch = UNDECLARED if epoch is None else epoch
    run._append(number, epoch, batch, loss, size, weight, call=None)
    if weight is None and run._outlet.is_writing:
        run._plain_numbers[series, split, reduction] = number


def log_values(run: Any, values: Mapping[Any, Any]) -> None:
    """Append a mapping of series names and values, in the current epoch, their meaning undeclared."""
    for key, value in values.items():
        try:
            name = wire.series_name(key)
            loss = wire.check_loss(read_scalar(name, value))
            number = run._outlet.number_of(name, "unknown", "items", "unknown")
            run._append(number, *next_call(run, name), loss, None, None, call=None)
        except wire.RecordError as error:
            field = "run" if error.field == "run" else str(key)[:40]  # a full run is told of once
            run._refuse(wire.RecordError(field, error.message))


def next_call(run: Any, name: str) -> tuple[int, int]:
    """Return the current epoch and how many records without a batch of their own it has had."""
    epoch = run._position.epoch
    last, count = run._calls.get(name, (epoch, 0))
    count = count if last == epoch else 0
    run._calls[name] = epoch, count + 1
    return epoch, count
