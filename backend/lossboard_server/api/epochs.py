"""Every view of every epoch of a series."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlalchemy import Connection
from starlette.responses import Response

from lossboard import wire
from lossboard_server.api.answers import answer_json
from lossboard_server.domain.meaning import Reduction
from lossboard_server.domain.views import EpochViews
from lossboard_server.errors import FieldError, InvalidInput, NotFound
from lossboard_server.store.progress import Progress, read_progress
from lossboard_server.store.reading import Epoch, Series, read_epochs, read_series, view
from lossboard_server.store.register import find_run
from lossboard_server.store.store import Store

router = APIRouter(prefix=wire.API_PREFIX, tags=["views"])


@router.get("/runs/{run}/epochs")
def get_epochs(
    request: Request, run: str, series: Annotated[str | None, Query(max_length=wire.MAX_SERIES_NAME)] = None
) -> Response:
    """Show every view of every epoch; of validation, an epoch's last pass."""
    wire.check_run_id(run)
    store: Store = request.app.state.store
    with store.reading() as connection:
        return answer_json(_show_epochs(connection, run, series))


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


def _show_epochs(connection: Connection, run_id: str, name: str | None) -> dict[str, Any]:
    run = find_run(connection, run_id)
    series = find_series(read_series(connection, run.key), run_id, name)
    progress = read_progress(connection, run)
    passes: dict[int, list[Epoch]] = {}
    for epoch in read_epochs(connection, series):
        passes.setdefault(epoch.epoch, []).append(epoch)
    return {
        "run": run_id,
        "series": series.name,
        "weight_unit": series.weight_unit,
        "weight_source": series.weight_source,
        "epochs": [
            _show_epoch(found[-1], view(connection, series, found[-1]), len(found), progress)
            for found in passes.values()
        ],
    }


def _show_epoch(epoch: Epoch, views: EpochViews, passes: int, progress: Progress) -> dict[str, Any]:
    merged = views.merged
    return {
        "epoch": epoch.epoch if epoch.is_declared else None,
        "batches": merged.count,
        "batches_seen": merged.seen,
        "items": merged.items,
        "items_seen": merged.items_seen,
        "weight": merged.weight[0],
        "batch_size": merged.batch_size,
        "last_batch_size": merged.last_batch_size,
        "raw_sum": views.raw_sum,
        "normalized_sum": views.normalized_sum,
        "batch_mean": views.batch_mean,
        "size_weighted": views.size_weighted,
        "per_item": views.per_item,
        "step_objective": views.batch_mean if epoch.reduction is Reduction.MEAN else None,
        "total": views.total,
        "std_error": merged.std_error,
        "min": merged.low,
        "max": merged.high,
        "nonfinite": merged.nonfinite,
        "empty": merged.empty,
        "global_batches": views.global_batches,
        "coverage": None,
        "reduction": epoch.reduction.wire_name,
        "complete": progress.is_complete(epoch.epoch),
        "passes": passes,
    }
