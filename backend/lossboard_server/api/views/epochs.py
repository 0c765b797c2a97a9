"""Every view of every epoch of a series."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection

from lossboard_server.api.views.encoding import write_json
from lossboard_server.api.views.reader import tell_epoch
from lossboard_server.domain.extent import Extent, measure_extent
from lossboard_server.domain.noise import std_error_detrended
from lossboard_server.domain.summary import Summary
from lossboard_server.domain.views import EpochViews
from lossboard_server.errors import FieldError, InvalidInput, NotFound
from lossboard_server.store.reader import Reader
from lossboard_server.store.reading.budget import Budget
from lossboard_server.store.reading.epochs import Epoch, identify, read_epochs, read_rows, view, view_rows
from lossboard_server.store.reading.progress import read_progress
from lossboard_server.store.reading.series import Series, read_hidden, read_series
from lossboard_server.store.writing.register import find_run


def show_epochs(reader: Reader, run: str, series: str | None, has_hidden: bool) -> bytes:
    """Show the epochs of a series, or of a run's first. Raises: NotFound, InvalidInput for the series."""
    with reader.look() as connection:
        budget = Budget(memo=reader.memo)
        return write_json(_tell_epochs(connection, run, series, budget, has_hidden=has_hidden))


def find_series(all_series: list[Series], run: str, name: str | None) -> Series:
    """Return the series of that name, or a run's first one.

    Raises: NotFound for a run without records, InvalidInput for a name it lacks.
    """
    if not all_series:
        raise NotFound(f"Run {run} has no records yet.")
    if name is None:
        return all_series[0]
    for series in all_series:
        if series.name == name:
            return series
    known = ", ".join(series.name for series in all_series[:10])
    message = f"run {run} has no series {name!r}; it has {known}"
    raise InvalidInput(f"series: {message}.", [FieldError("series", message)])


def tell_extent(series: Series, epoch: Epoch, views: EpochViews) -> Extent:
    """Tell what an epoch covers; validation makes no steps, though its records name one."""
    extent = measure_extent(epoch.ranks, views.merged, series.traits)
    if not series.is_train:
        extent.steps = extent.accumulation = None
    return extent


def tell_counts(merged: Summary) -> dict[str, Any]:
    """Tell what an epoch's records count, and how far they lie apart."""
    return {
        "batches": merged.count,
        "batches_seen": merged.seen,
        "items": merged.items,
        "items_seen": merged.items_seen,
        "weight": merged.weight[0],
        "batch_size": merged.batch_size,
        "last_batch_size": merged.last_batch_size,
        "nonfinite": merged.nonfinite,
        "empty": merged.empty,
        "std_error": merged.std_error,
    }


def _tell_epochs(
    connection: Connection, run_id: str, name: str | None, budget: Budget, *, has_hidden: bool
) -> dict[str, Any]:
    run = find_run(connection, run_id)
    series = find_series(read_series(connection, run.key), run_id, name)
    counted: Counter[int] = Counter()
    epochs = read_epochs(connection, series, hidden=counted)
    progress = read_progress(connection, run)
    shown = {
        "run": run_id,
        "series": series.name,
        "reduction": series.reduction.wire_name,
        "weight_unit": series.weight_unit,
        "weight_source": series.weight_source,
        "traits": series.traits,
        "epochs": _list_epochs(connection, series, epochs, progress.is_complete, budget),
    }
    if has_hidden:
        shown["hidden"] = list(_list_hidden(connection, series, counted, budget))
    return shown


def _list_hidden(
    connection: Connection, series: Series, counted: Counter[int], budget: Budget
) -> Iterator[dict[str, Any]]:
    """Yield each attempt's hidden epochs as they were seen; whether the last was complete is not known."""
    for hidden in read_hidden(connection, series.run, set(counted)):
        own = {epoch.place for epoch in read_epochs(connection, series.showing(hidden.stretches))}
        seen = series.showing(hidden.seen)
        epochs = [
            epoch
            for epoch in read_epochs(connection, seen)
            if epoch.place in own and epoch.attempt in (None, hidden.key)
        ]
        last = epochs[-1].epoch
        yield {
            "attempt": series.order[hidden.key] + 1,
            "records": counted[hidden.key],
            "epochs": _list_epochs(connection, seen, epochs, last.__gt__, budget),
        }


def _list_epochs(
    connection: Connection,
    series: Series,
    epochs: Sequence[Epoch],
    is_complete: Callable[[int], bool],
    budget: Budget,
) -> list[dict[str, Any]]:
    """Tell of each epoch its last pass; the budget is spent on the newest first."""
    passes: dict[int, list[Epoch]] = {}
    for epoch in epochs:
        passes.setdefault(epoch.epoch, []).append(epoch)
    told = []
    for found in reversed(passes.values()):
        epoch = found[-1]
        told.append(
            _read_epoch(connection, series, epoch, budget)
            | {"complete": is_complete(epoch.epoch), "passes": len(found)}
        )
    return told[::-1]


def _read_epoch(connection: Connection, series: Series, epoch: Epoch, budget: Budget) -> dict[str, Any]:
    if not budget.take(epoch.seen):
        return _show_epoch(series, epoch, view(connection, series, epoch, Budget(0, budget.memo)), None)

    def read() -> tuple[EpochViews, float | None]:
        rows = read_rows(connection, series, epoch)
        return view_rows(epoch, rows), std_error_detrended(rows)

    return _show_epoch(series, epoch, *budget.memo.find(("noise", *identify(series, epoch)), read))


def _show_epoch(series: Series, epoch: Epoch, views: EpochViews, detrended: float | None) -> dict[str, Any]:
    merged = views.merged
    return {
        "epoch": tell_epoch(epoch.epoch),
        **tell_counts(merged),
        "raw_sum": views.raw_sum,
        "normalized_sum": views.normalized_sum,
        "batch_mean": views.batch_mean,
        "size_weighted": views.size_weighted,
        "per_item": views.per_item,
        "step_objective": views.step_objective,
        "total": views.total,
        "std_error_detrended": detrended,
        "min": merged.low,
        "max": merged.high,
        "global_batches": views.global_batches,
        "reduction": epoch.reduction.wire_name,
        **asdict(tell_extent(series, epoch, views)),
    }
