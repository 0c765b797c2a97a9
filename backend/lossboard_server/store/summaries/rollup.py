"""Summaries in the database, by epoch and by bucket: reading them, and merging new records into them."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, bindparam, func, select

from lossboard_server.domain.blocks import Block, summarise_block
from lossboard_server.domain.meaning import Reduction
from lossboard_server.domain.pyramid import SMALLEST_WIDTH, build_levels
from lossboard_server.domain.summary import Summary, merge, merge_all
from lossboard_server.store.database import put_tuples, select_tuples
from lossboard_server.store.statements import Statement
from lossboard_server.store.tables import BucketRow, EpochRow

Key = tuple[int, ...]
"""A row's key in its tier, the run left out."""

Group = tuple[int, int, int, int]
"""(series, attempt, epoch, pass_no)."""

Stored = tuple[Reduction | None, Summary]

# In the order of Summary's fields, each sum followed by its rounding error.
SUMMARY_COLUMNS = (
    "seen", "count", "unweighted", "nonfinite", "empty", "items", "items_seen",
    "weight", "weight_low", "weighted", "weighted_low", "v", "v_low", "m", "m_low", "sized", "sized_low",
    "m2", "low", "high", "batch_size", "last_batch_size", "last_batch", "last_rank", "first_step",
    "last_step", "first_time_unix_s", "last_time_unix_s",
)  # fmt: skip
MAX_KEYS_A_QUERY = 100  # SQLite's limit of bound values is 999 in old builds: 7 a key


class Tier(NamedTuple):
    """A table of summaries: its key within a run, and what stands before the summary itself."""

    table: Table
    keys: tuple[str, ...]
    has_reduction: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that `read_summary` reads by position, the run left out."""
        return (*self.keys, *(("reduction",) if self.has_reduction else ()), *SUMMARY_COLUMNS)

    @property
    def columns(self) -> list[Any]:
        """The same, to select."""
        return [self.table.c[name] for name in self.names]


EPOCHS = Tier(
    EpochRow.__table__,  # type: ignore[arg-type]
    ("series", "attempt", "epoch", "pass_no", "rank"),
    has_reduction=True,
)
BUCKETS = Tier(
    BucketRow.__table__,  # type: ignore[arg-type]
    ("series", "attempt", "width", "epoch", "pass_no", "number"),
    has_reduction=False,  # a curve's mean is of each record's own; only an epoch's views ask
)


_epoch = EPOCHS.table.c
_group = (_epoch.series, _epoch.attempt, _epoch.epoch, _epoch.pass_no)
# Made once: a request of ten records spends more on building its queries than on running them.
_REACH = Statement(
    select(*_group, func.max(_epoch.last_batch).label("reach"))
    .where(
        _epoch.run == bindparam("run"),
        _epoch.series == bindparam("series"),
        _epoch.attempt == bindparam("attempt"),
        _epoch.epoch.between(bindparam("first"), bindparam("last")),
    )
    .group_by(*_group)
)


def read_summary(row: Sequence[Any]) -> Summary:
    """Rebuild the summary at the end of a row selected with a tier's columns."""
    (
        seen, count, unweighted, nonfinite, empty, items, items_seen,
        weight, weight_low, weighted, weighted_low, v, v_low, m, m_low, sized, sized_low, *rest,
    ) = row[-len(SUMMARY_COLUMNS) :]  # fmt: skip
    sums = ((weight, weight_low), (weighted, weighted_low), (v, v_low), (m, m_low), (sized, sized_low))
    return Summary(seen, count, unweighted, nonfinite, empty, items, items_seen, *sums, *rest)


def merge_blocks(
    connection: Connection,
    run: int,
    blocks: Iterable[tuple[int, int, Reduction, Block]],
    *,
    with_buckets: Collection[int],
) -> dict[Key, Stored]:
    """Merge the records of (series, attempt, reduction, block) into epochs and buckets, in their transaction.

    `with_buckets` names the series that have buckets. Returns the epochs that grew, as they are now.
    """
    by_epoch: dict[Key, Stored] = {}
    by_group: dict[Group, dict[int, Summary]] = {}
    for series, attempt, reduction, block in blocks:
        width = SMALLEST_WIDTH if series in with_buckets else None
        for place, buckets in summarise_block(block, reduction, width).items():
            group = (series, attempt, *place)
            if width is not None:
                known = by_group.setdefault(group, {})
                for number, summary in buckets.items():
                    known[number] = merge(known[number], summary) if number in known else summary
            key = (*group, block.rank)
            by_epoch[key] = join_stored(by_epoch.get(key), (reduction, merge_all(buckets.values())))
    reach = _read_reach(connection, run, by_epoch)
    by_bucket = _build_buckets(connection, run, by_group, reach)
    grown = _merge_into(
        connection,
        EPOCHS,
        run,
        by_epoch,
        [key for key in by_epoch if (key[0], key[1], key[2], key[3]) in reach],
    )
    old = [key for key in by_bucket if _may_be_stored(key, reach)]
    _merge_into(connection, BUCKETS, run, by_bucket, old)
    return grown


def _may_be_stored(bucket: Key, reach: dict[Group, int]) -> bool:
    series, attempt, width, epoch, pass_no, number = bucket
    last = reach.get((series, attempt, epoch, pass_no), -1)
    return width <= last and number <= last // width


def _build_buckets(
    connection: Connection, run: int, by_group: dict[Group, dict[int, Summary]], reach: dict[Group, int]
) -> dict[Key, Stored]:
    """Spread new records over every level of their groups, and fill the levels that they open."""
    found: dict[Key, Stored] = {}
    for group, smallest in by_group.items():
        series, attempt, *place = group
        before = reach.get(group, -1)
        last = max(before, *(summary.last_batch for summary in smallest.values()))
        for width, buckets in build_levels(smallest, last):
            if 0 <= before < width:  # all that came before stands in this new level's first bucket
                so_far = _read_group(connection, run, group)
                buckets = buckets | {0: merge(so_far, buckets.get(0, Summary()))}
            for number, summary in buckets.items():
                found[series, attempt, width, *place, number] = (None, summary)
    return found


def _read_reach(connection: Connection, run: int, keys: Iterable[Key]) -> dict[Group, int]:
    """Return the greatest stored batch of each group near these epochs; none for a group without records."""
    spans: dict[tuple[int, int], list[int]] = {}
    for series, attempt, epoch, *_ in keys:
        spans.setdefault((series, attempt), []).append(epoch)
    found: dict[Group, int] = {}
    for (series, attempt), epochs in spans.items():
        span = {"run": run, "series": series, "attempt": attempt, "first": min(epochs), "last": max(epochs)}
        for *group, last in _REACH.run(connection, span):
            found[tuple(group)] = last
    return found


def _read_group(connection: Connection, run: int, group: Group) -> Summary:
    where = [column == part for column, part in zip(_group, group, strict=True)]
    query = select(*EPOCHS.columns).where(_epoch.run == run, *where).order_by(_epoch.rank)
    rows = connection.execute(query)
    return merge_all(map(read_summary, rows))


def _merge_into(
    connection: Connection, tier: Tier, run: int, fresh: dict[Key, Stored], old: list[Key]
) -> dict[Key, Stored]:
    """Merge summaries into a tier and return them; `old` are the keys that may have a row."""
    stored = read_stored(connection, tier, run, old) if old else {}
    grown = {key: join_stored(stored.get(key), summary) for key, summary in fresh.items()}
    rows = [
        (run, *key, *(() if reduction is None else (int(reduction),)), *summary_values(merged))
        for key, (reduction, merged) in grown.items()
    ]
    if rows:
        put_tuples(connection, tier.table.name, ("run", *tier.names), ("run", *tier.keys), rows)
    return grown


def read_stored(connection: Connection, tier: Tier, run: int, keys: list[Key]) -> dict[Key, Stored]:
    """Return what stands under these keys of a tier."""
    found: dict[Key, Stored] = {}
    size = len(tier.keys)
    for first in range(0, len(keys), MAX_KEYS_A_QUERY):
        rows = [(run, *key) for key in keys[first : first + MAX_KEYS_A_QUERY]]
        for row in select_tuples(connection, tier.table.name, tier.names, ("run", *tier.keys), rows):
            reduction = Reduction(row[size]) if tier.has_reduction else None
            found[tuple(row[:size])] = (reduction, read_summary(row))
    return found


def join_stored(known: Stored | None, fresh: Stored) -> Stored:
    """Merge what is known of a key with more of it; a reduction that differs makes it unknown."""
    if known is None:
        return fresh
    return known[0] if known[0] == fresh[0] else Reduction.UNKNOWN, merge(known[1], fresh[1])


def summary_values(s: Summary) -> tuple[Any, ...]:
    """Return a summary as SUMMARY_COLUMNS."""
    return (
        s.seen, s.count, s.unweighted, s.nonfinite, s.empty, s.items, s.items_seen,
        *s.weight, *s.weighted, *s.v, *s.m, *s.sized,
        s.m2, s.low, s.high, s.batch_size, s.last_batch_size, s.last_batch, s.last_rank,
        s.first_step, s.last_step, s.first_time, s.last_time,
    )  # fmt: skip
