"""One epoch explained: each view's formula with its own numbers, and why other tools print others."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlalchemy import Connection
from starlette.responses import Response

from lossboard import wire
from lossboard_server.api.answers import answer_json
from lossboard_server.api.epochs import find_series, tell_counts
from lossboard_server.api.views.reader import tell_epoch
from lossboard_server.domain.blocks import UNDECLARED_EPOCH
from lossboard_server.domain.explaining.epoch import Explained
from lossboard_server.domain.explaining.explanation import explain_epoch
from lossboard_server.domain.summary import Row
from lossboard_server.errors import FieldError, InvalidInput, NotFound
from lossboard_server.store.reading.budget import Budget
from lossboard_server.store.reading.epochs import Epoch, read_epochs, read_rows, view, view_rows
from lossboard_server.store.reading.progress import read_progress
from lossboard_server.store.reading.rows import read_lines
from lossboard_server.store.reading.series import Series, read_series
from lossboard_server.store.store import Store
from lossboard_server.store.writing.register import find_frameworks, find_run

router = APIRouter(prefix=wire.API_PREFIX, tags=["views"])

UNDECLARED = "undeclared"
MAX_DIGITS = 10  # of an epoch, which is below 2^31
MAX_LISTED = 10  # stretches of epochs named in a refusal


@router.get("/runs/{run}/epochs/{epoch}/explain")
def get_explanation(
    request: Request,
    run: str,
    epoch: str,
    series: Annotated[str | None, Query(max_length=wire.MAX_SERIES_NAME)] = None,
    pass_no: Annotated[int | None, Query(ge=0, le=wire.MAX_SMALL)] = None,
) -> Response:
    """Explain an epoch: formulas with its numbers, artefacts, what other tools would have printed.

    `epoch` is its number, or `undeclared` where nothing told the run's epochs. Of validation it is
    the epoch's last pass, unless `pass_no` names another. Of an epoch of more than 100,000
    records, what takes them one by one is left out.
    """
    wire.check_run_id(run)
    number = _read_number(epoch)
    store: Store = request.app.state.store
    with store.reading() as connection:
        return answer_json(_explain(connection, run, series, number, pass_no, Budget(memo=store.memo)))


def _read_number(epoch: str) -> int:
    if epoch == UNDECLARED:
        return UNDECLARED_EPOCH
    if not (epoch.isascii() and epoch.isdigit()) or len(epoch) > MAX_DIGITS:
        message = f"must be an epoch's number, or {UNDECLARED}"
        raise InvalidInput(f"epoch {message}.", [FieldError("epoch", message)])
    return int(epoch)


def _explain(
    connection: Connection, run_id: str, name: str | None, number: int, pass_no: int | None, budget: Budget
) -> dict[str, Any]:
    run = find_run(connection, run_id)
    series = find_series(read_series(connection, run.key), run_id, name)
    epochs = read_epochs(connection, series)
    epoch = _find_epoch(epochs, series, number, pass_no)
    rows = read_rows(connection, series, epoch) if budget.take(epoch.seen) else None
    explained = Explained(
        series.name,
        epoch.ranks,
        view(connection, series, epoch, budget) if rows is None else view_rows(epoch, rows),
        epoch.reduction,
        series.weight_unit,
        series.weight_source,
        rows=rows,
        before=_read_before(connection, series, epochs, epoch, budget),
        traits=series.traits,
        frameworks=find_frameworks(connection, run.key),
        is_declared=epoch.is_declared,
        is_complete=read_progress(connection, run).is_complete(epoch.epoch),
    )
    merged, extent = explained.merged, explained.extent
    return {
        "run": run_id,
        "name": run.name,
        "series": series.name,
        "epoch": tell_epoch(epoch.epoch),
        "pass_no": epoch.pass_no,
        "complete": explained.is_complete,
        "reduction": epoch.reduction.wire_name,
        "weight_unit": series.weight_unit,
        "weight_source": series.weight_source,
        "traits": series.traits,
        **tell_counts(merged),
        **extent.as_json(),
        **explain_epoch(explained).as_json(),
    }


def _read_before(
    connection: Connection, series: Series, epochs: Sequence[Epoch], epoch: Epoch, budget: Budget
) -> list[Row] | None:
    """Return the records of training before an epoch, for averages that run on; None where too many."""
    before = [other for other in epochs if 0 <= other.epoch < epoch.epoch]
    if not before or not series.is_train:
        return []
    if not budget.take(sum(other.seen for other in before)):
        return None
    return list(read_lines(connection, series, before[0].epoch, before[-1].epoch))


def _find_epoch(epochs: Sequence[Epoch], series: Series, number: int, pass_no: int | None) -> Epoch:
    """Return the last pass of an epoch, or the one named.

    Raises: NotFound, telling which there are.
    """
    found = [epoch for epoch in epochs if epoch.epoch == number]
    if not found:
        what = "undeclared epoch" if number < 0 else f"epoch {number}"
        told = _list_numbers([epoch.epoch for epoch in epochs])
        raise NotFound(f"{series.name} has no {what}; it has {told}.")
    if pass_no is None:
        return found[-1]
    named = [epoch for epoch in found if epoch.pass_no == pass_no]
    if not named:
        told = ", ".join(str(epoch.pass_no) for epoch in found[:MAX_LISTED])
        raise NotFound(f"Epoch {number} of {series.name} has no pass {pass_no}; it has {told}.")
    return named[-1]


def _list_numbers(numbers: Sequence[int]) -> str:
    """Write ascending epochs as stretches: "0 to 7, 9, 12 to 15"; the undeclared one by its name."""
    stretches: list[list[int]] = []
    for number in dict.fromkeys(numbers):
        if stretches and number == stretches[-1][1] + 1 and number > 0:
            stretches[-1][1] = number
        else:
            stretches.append([number, number])
    told = [
        UNDECLARED if last < 0 else str(first) if first == last else f"{first} to {last}"
        for first, last in stretches
    ]
    return ", ".join(told[:MAX_LISTED]) + (", …" if len(told) > MAX_LISTED else "") or "none"
