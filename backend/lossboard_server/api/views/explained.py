"""One epoch explained: each view's formula with its own numbers, and why other tools print others."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from lossboard_server.api.views.encoding import write_json
from lossboard_server.api.views.epochs import find_series, tell_counts
from lossboard_server.api.views.reader import tell_epoch
from lossboard_server.domain.explaining.epoch import Explained
from lossboard_server.domain.explaining.explanation import explain_epoch
from lossboard_server.domain.summary import Row
from lossboard_server.errors import NotFound
from lossboard_server.store.reader import Reader
from lossboard_server.store.reading.budget import Budget
from lossboard_server.store.reading.epochs import Epoch, read_epochs, read_rows, view, view_rows
from lossboard_server.store.reading.progress import read_progress
from lossboard_server.store.reading.rows import read_lines
from lossboard_server.store.reading.series import Series, read_series
from lossboard_server.store.writing.register import find_frameworks, find_run

UNDECLARED = "undeclared"  # the name of the epoch that nothing told
MAX_LISTED = 10  # stretches of epochs named in a refusal


def explain(reader: Reader, run: str, series: str | None, number: int, pass_no: int | None) -> bytes:
    """Explain an epoch's last pass, or the one named. Raises: NotFound, InvalidInput for the series."""
    with reader.look() as connection:
        budget = Budget(memo=reader.memo)
        return write_json(_explain(connection, run, series, number, pass_no, budget))


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
