"""Spans: a series' visible epochs in neighbouring groups, from the tier over epochs where it holds them."""

from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

from sqlalchemy import Connection

from lossboard_server.domain.epoch_pyramid import EPOCH_WIDTHS, EpochBucket, bucket_epoch, join_epochs
from lossboard_server.domain.points import point_of
from lossboard_server.store.reading.epochs import Epoch, read_epoch, read_own_epochs
from lossboard_server.store.reading.laps import Lap
from lossboard_server.store.reading.series import Series
from lossboard_server.store.reading.spread import find_span
from lossboard_server.store.summaries.epoch_tier import read_epoch_buckets, read_epoch_reach


class _Block(NamedTuple):
    """Neighbouring buckets of one width; of width 1 epochs that no closed bucket holds."""

    width: int
    first: int
    last: int
    """The numbers of its buckets, as the attempt counts them."""


class _Piece(NamedTuple):
    """A part of a span: its first and last epoch, as they are shown."""

    epoch: int
    last: int
    bucket: EpochBucket


def find_extent(connection: Connection, series: Series) -> tuple[int, int] | None:
    """Return the first and the last epoch of a series that are shown; None for none."""
    spans = [find_span(connection, series, attempt) for attempt in series.stretches]
    found = [span for span in spans if span is not None]
    return (min(first for first, _ in found), max(last for _, last in found)) if found else None


def read_spans(connection: Connection, series: Series, first: int, last: int, width: int) -> list[Lap]:
    """Return the visible epochs from `first` to `last`, declared ones, `width` of them in each lap.

    The last of a lap's epochs tells its place. Edges are multiples of the width.
    Units: width in epochs, a power of 4.
    Cost: the spans, and some buckets and at most 32 epochs for each attempt.
    """
    pieces: list[_Piece] = []
    cut = sorted(epoch for epoch in _find_cut(series) if first <= epoch <= last)
    for number in cut:
        pieces += [
            _Piece(number, number, _bucket(series, epoch)) for epoch in read_epoch(connection, series, number)
        ]
    for attempt in series.stretches:
        span = find_span(connection, series, attempt)
        if span is not None:
            for whole in _leave_out(max(first, span[0], 0), min(last, span[1]), cut):
                pieces += _read_pieces(connection, series, attempt, whole, width)
    pieces.sort(key=lambda piece: piece.epoch)
    return [_make_lap(width, list(group)) for _, group in groupby(pieces, lambda piece: piece.epoch // width)]


def _make_lap(width: int, pieces: list[_Piece]) -> Lap:
    whole = join_epochs([piece.bucket for piece in pieces])
    place = (max(piece.last for piece in pieces), 0)
    point = point_of(whole.summary, place, 0, 1)._replace(batches=whole.batches)
    return Lap(point, whole.ranks, (), width, whole, min(piece.epoch for piece in pieces))


def _bucket(series: Series, epoch: Epoch) -> EpochBucket:
    return bucket_epoch(epoch.ranks, epoch.reduction, is_training=series.is_train)


def _find_cut(series: Series) -> set[int]:
    """Return the epochs, as they are shown, of which some attempt shows a part."""
    cut = set()
    for stretch in series.stretches.values():
        for edge in (stretch.first, stretch.end):
            if edge is not None and edge[0] >= 0 and edge[1] > 0:
                cut.add(edge[0] + stretch.epochs_before)
    return cut


def _leave_out(first: int, last: int, cut: list[int]) -> Iterator[tuple[int, int]]:
    """Yield what of a range lies between these epochs."""
    for epoch in cut:
        if first <= epoch <= last:
            yield first, epoch - 1
            first = epoch + 1
    yield first, last


def _read_pieces(
    connection: Connection, series: Series, attempt: int, shown: tuple[int, int], width: int
) -> Iterator[_Piece]:
    before = series.stretches[attempt].epochs_before
    # Where epochs are counted on behind another attempt's, only buckets whose edges fall on edges fit.
    widths = [w for w in reversed(EPOCH_WIDTHS) if w <= width and before % w == 0]
    reach = read_epoch_reach(connection, series.run, [(series.key, attempt)])[series.key, attempt]
    for block in _find_blocks(shown[0] - before, shown[1] - before, reach, widths):
        if block.width == 1:
            for epoch in read_own_epochs(connection, series, attempt, block.first, block.last):
                yield _Piece(epoch.epoch, epoch.epoch, _bucket(series, epoch))
            continue
        where = (series.run, series.key, attempt, block.width, block.first, block.last)
        for number, bucket in read_epoch_buckets(connection, *where).items():
            series.continue_steps(attempt, bucket.summary)
            first = number * block.width + before
            yield _Piece(first, first + block.width - 1, bucket)


def _find_blocks(at: int, last: int, reach: int, widths: list[int]) -> Iterator[_Block]:
    """Cut epochs `at` to `last` into the widest closed buckets, those of one width that touch together."""
    block: _Block | None = None
    while at <= last:
        closed = (w for w in widths if at % w == 0 and at + w - 1 <= last and at + w <= reach)
        width = next(closed, 1)
        number = at // width
        if block is not None and block.width == width and block.last == number - 1:
            block = block._replace(last=number)
        else:
            if block is not None:
                yield block
            block = _Block(width, number, number)
        at += width
    if block is not None:
        yield block
