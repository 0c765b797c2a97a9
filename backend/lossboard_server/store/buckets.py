"""Reading what a curve of training is drawn from: buckets of one width, and losses that are not finite."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import Connection, select

from lossboard_server.domain.curves import Bucket
from lossboard_server.domain.summary import Summary, merge_all, summarise
from lossboard_server.store.reading import Epoch
from lossboard_server.store.rollup import BUCKETS, read_summary
from lossboard_server.store.rows import read_extremes, read_part
from lossboard_server.store.series import Series

_bucket = BUCKETS.table.c
_Key = tuple[int, int, int]

Cut = int | None
"""The batch from which a later attempt hides a group; None: it is visible as a whole."""


def read_buckets(connection: Connection, series: Series, epochs: Sequence[Epoch], width: int) -> list[Bucket]:
    """Return the visible buckets of these epochs in their order, as if made of the rows themselves.

    Cost: the buckets, and at an attempt's cut up to `width` batches of rows.
    """
    found: defaultdict[_Key, list[Summary]] = defaultdict(list)
    stored: dict[_Key, Cut] = {}
    for epoch in epochs:
        for attempt in {part.attempt for part in epoch.parts}:
            parts = [part for part in epoch.parts if part.attempt == attempt]
            if max(part.last_batch for part in parts) < width:  # no level of this width: one bucket
                found[epoch.epoch, epoch.pass_no, 0] += [part.summary for part in parts]
            else:
                stored[attempt, *epoch.place] = series.cut_within(attempt, epoch.epoch)
    if stored:
        for key, summary in _read_level(connection, series, width, stored):
            found[key].append(summary)
    ranks = {epoch.place: len(epoch.ranks) for epoch in epochs}
    buckets = {key: Bucket(key[0], merge_all(found[key]), ranks[key[:2]]) for key in sorted(found)}
    extreme = {epoch.place for epoch in epochs if epoch.has_nonfinite}
    for row in read_extremes(connection, series, extreme):
        buckets[row.epoch, row.pass_no, row.batch // width].note(row)
    return list(buckets.values())


def _read_level(
    connection: Connection, series: Series, width: int, groups: Mapping[_Key, Cut]
) -> Iterator[tuple[_Key, Summary]]:
    """Yield the stored buckets of (attempt, epoch, pass_no), the rows before a cut for the one it splits."""
    epochs = [epoch for _, epoch, _ in groups]
    query = select(*BUCKETS.columns).where(
        _bucket.run == series.run,
        _bucket.series == series.key,
        _bucket.attempt.in_({attempt for attempt, _, _ in groups}),
        _bucket.width == width,
        _bucket.epoch.between(min(epochs), max(epochs)),
    )
    for row in connection.execute(query).all():
        _, attempt, _, epoch, pass_no, number = row[:6]
        cut = groups.get((attempt, epoch, pass_no), 0)  # 0: hidden, or not asked for
        if cut is None or (number + 1) * width <= cut:
            yield (epoch, pass_no, number), series.continue_steps(attempt, read_summary(row))
    for (attempt, epoch, pass_no), cut in groups.items():
        if cut is not None and cut % width:
            batches = range(cut - cut % width, cut)
            rows = list(read_part(connection, series, attempt, epoch, pass_no, batches))
            if rows:
                yield (epoch, pass_no, batches.start // width), summarise(rows)
