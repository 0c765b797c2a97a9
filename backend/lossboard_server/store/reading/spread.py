"""Some epochs of a series, spread over those shown, found without reading the others."""

from sqlalchemy import Connection, bindparam, func, select, text

from lossboard_server.store.reading.series import Series
from lossboard_server.store.statements import Statement
from lossboard_server.store.tables import EpochRow

_epoch = EpochRow.__table__.c
_own = (
    _epoch.run == bindparam("run"),
    _epoch.series == bindparam("series"),
    _epoch.attempt == bindparam("attempt"),
)
# One question each: SQLite looks up a least or a greatest key, and reads all of them for both.
_ENDS = Statement(
    select(
        select(func.min(_epoch.epoch)).where(*_own).scalar_subquery().label("first"),
        select(func.max(_epoch.epoch)).where(*_own).scalar_subquery().label("last"),
    )
)
_LAST_UPTO = """SELECT max(epoch) FROM epochs
    WHERE run = :run AND series = :series AND attempt = :attempt AND epoch <= k.column1"""


def spread_epochs(connection: Connection, series: Series, at_most: int) -> dict[int, list[int]]:
    """Return about `at_most` epochs, spread over those shown, with the last.

    By attempt, as the attempt counts them; -1 is among them where records may be undeclared.
    Cost: a look-up for each: listing all of 10,000 took 26 ms, for every such run of a list.
    """
    found = ((attempt, find_span(connection, series, attempt)) for attempt in series.stretches)
    spans = {attempt: span for attempt, span in found if span is not None}
    if not spans:
        return {}
    first, last = min(span[0] for span in spans.values()), max(span[1] for span in spans.values())
    step = max(1, -(-(last - first + 1) // at_most))
    shown: set[int] = set()
    for attempt, (start, end) in spans.items():
        before = series.stretches[attempt].epochs_before
        wanted = [epoch - before for epoch in range(last, first - 1, -step) if start <= epoch <= end]
        own = wanted if step == 1 else _find_last_epochs(connection, series, attempt, wanted)
        shown.update(epoch + before for epoch in own)
    # An epoch that is cut is of two attempts: whichever was found, both are read.
    return {
        attempt: sorted({-1, *(epoch - series.stretches[attempt].epochs_before for epoch in shown)})
        for attempt in spans
    }


def find_span(connection: Connection, series: Series, attempt: int) -> tuple[int, int] | None:
    """Return the first and the last epoch of an attempt that are shown, as they are shown; None of none."""
    where = {"run": series.run, "series": series.key, "attempt": attempt}
    first, last = _ENDS.run(connection, where)[0]
    if first is None:
        return None
    stretch = series.stretches[attempt]
    if stretch.first is not None:
        first = max(first, stretch.first[0])
    if stretch.end is not None:
        last = min(last, stretch.end[0] - (stretch.end[1] == 0))
    return (first + stretch.epochs_before, last + stretch.epochs_before) if first <= max(last, 0) else None


def _find_last_epochs(connection: Connection, series: Series, attempt: int, wanted: list[int]) -> list[int]:
    """Return, for each wanted epoch, the last one that there is up to it."""
    if not wanted:
        return []
    values = ", ".join(f"(:at{number})" for number in range(len(wanted)))
    query = text(f"SELECT ({_LAST_UPTO}) FROM (VALUES {values}) AS k")
    places = {"run": series.run, "series": series.key, "attempt": attempt}
    places |= {f"at{number}": epoch for number, epoch in enumerate(wanted)}
    return [epoch for epoch in connection.execute(query, places).scalars() if epoch is not None]
