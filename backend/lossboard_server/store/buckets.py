"""Reading what a curve of training is drawn from: buckets of one width, and losses that are not finite."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from sqlalchemy import Connection, select

from lossboard_server.domain.attempts import ENDLESS
from lossboard_server.domain.curves import Bucket
from lossboard_server.domain.summary import Summary, merge_all, summarise
from lossboard_server.store.reading import Epoch
from lossboard_server.store.rollup import BUCKETS, read_summary
from lossboard_server.store.rows import read_extremes, read_part
from lossboard_server.store.series import Series

_bucket = BUCKETS.table.c
_Key = tuple[int, int, int]

Batches = range | None
"""Which batches of a group are shown; None: all."""


def read_buckets(connection: Connection, series: Series, epochs: Sequence[Epoch], width: int) -> list[Bucket]:
    """Return the visible buckets of these epochs in their order, as if made of the rows themselves.

    Cost: the buckets, and at an attempt's cut up to `width` batches of rows.
    """
    found: defaultdict[_Key, list[Summary]] = defaultdict(list)
    stored: dict[_Key, Batches] = {}
    for epoch in epochs:
        for attempt in {part.attempt for part in epoch.parts}:
            parts = [part for part in epoch.parts if part.attempt == attempt]
            if max(part.last_batch for part in parts) < width:  # no level of this width: one bucket
                found[epoch.epoch, epoch.pass_no, 0] += [part.summary for part in parts]
            else:
                stretch = series.stretches[attempt]
                own = stretch.unplace(*epoch.place)
                stored[attempt, *own] = stretch.batches(own[0])
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
    connection: Connection, series: Series, width: int, groups: Mapping[_Key, Batches]
) -> Iterator[tuple[_Key, Summary]]:
    """Yield the stored buckets of (attempt, epoch, pass_no), and the rows of those that a cut splits."""
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
        shown = groups.get((attempt, epoch, pass_no), range(0))  # hidden, or not asked for
        if shown is None or (shown.start <= number * width and (number + 1) * width <= shown.stop):
            place = series.stretches[attempt].place(epoch, pass_no, is_train=True)
            yield (*place, number), series.continue_steps(attempt, read_summary(row))
    for (attempt, epoch, pass_no), shown in groups.items():
        for batches in _split(shown, width):
            rows = list(read_part(connection, series, attempt, epoch, pass_no, batches))
            if rows:
                place = series.stretches[attempt].place(epoch, pass_no, is_train=True)
                yield (*place, batches.start // width), summarise(rows)


def _split(shown: Batches, width: int) -> Iterator[range]:
    """Yield the batches of the buckets that are shown in part."""
    if shown is None or shown.start >= shown.stop:
        return
    first, last = shown.start // width, shown.stop // width
    if shown.start % width:
        yield range(shown.start, min((first + 1) * width, shown.stop))
    if shown.stop != ENDLESS and shown.stop % width and (last > first or not shown.start % width):
        yield range(max(last * width, shown.start), shown.stop)
