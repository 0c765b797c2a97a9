"""The trails of a run's series in the database: written with its records, read for whoever follows it."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, select, update

from lossboard_server.domain.blocks import Block
from lossboard_server.domain.trail import Trail
from lossboard_server.store.statements import Statement
from lossboard_server.store.tables import RunRow, SeriesRow

# Made once: each request of a training asks them.
_TRAILS = Statement(select(SeriesRow.key, SeriesRow.trail).where(SeriesRow.run == bindparam("of_run")))
_EXTEND = Statement(
    update(SeriesRow)
    .where(SeriesRow.run == bindparam("of_run"), SeriesRow.key == bindparam("of_key"))
    .values(trail=bindparam("trail"))
)
_REDRAW = Statement(
    update(RunRow).where(RunRow.key == bindparam("of_run")).values(redrawn=RunRow.version + 1)
)


class Touched(NamedTuple):
    """The first position of a series that a request changes."""

    attempt: int
    epoch: int
    batch: int


def find_touched(blocks: Iterable[tuple[int, int, Block]], trains: Iterable[int]) -> dict[int, list[Touched]]:
    """Return by series what (series, attempt, records) change; `trains` are the series of training."""
    is_train = frozenset(trains)
    found: dict[int, dict[int, tuple[int, int]]] = {}
    for series, attempt, block in blocks:
        has_batches = series in is_train and not (block.pass_no and any(block.pass_no))
        first = _find_first(block) if has_batches else (min(block.epoch), 0)
        known = found.setdefault(series, {})
        known[attempt] = min(first, known.get(attempt, first))
    return {
        series: [Touched(attempt, *first) for attempt, first in own.items()] for series, own in found.items()
    }


def _find_first(block: Block) -> tuple[int, int]:
    first = min(block.epoch)
    if max(block.epoch) == first:  # the usual case, for which a pair for each record is too much
        return first, min(block.batch)
    return min(zip(block.epoch, block.batch, strict=True))


def extend_trails(
    connection: Connection, run: int, version: int, touched: Mapping[int, list[Touched]]
) -> None:
    """Note what becomes another with this version of the run, in its transaction."""
    for key, stored in _TRAILS.run(connection, {"of_run": run}) if touched else ():
        if key in touched:
            trail = Trail.read(stored)
            for each in touched[key]:
                trail.extend(version, *each)
            _EXTEND.run(connection, {"of_run": run, "of_key": key, "trail": trail.store()})


def redraw(connection: Connection, run: int) -> None:
    """Note that the version to come changes more of the run's curves than its records tell."""
    _REDRAW.run(connection, {"of_run": run})


def read_trails(connection: Connection, run: int) -> dict[int, Trail]:
    """Return a run's trails by the key of their series."""
    return {key: Trail.read(stored) for key, stored in _TRAILS.run(connection, {"of_run": run})}
