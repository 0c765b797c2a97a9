"""Where the attempts of a resumed run begin on an axis, and what is to be known of them."""

from typing import Any

from lossboard_server.api.views.reader import RunReader, tell_epoch
from lossboard_server.domain.attempt_notes import find_notes, is_apart
from lossboard_server.domain.comparing.facts import Reason
from lossboard_server.domain.curves import Standing
from lossboard_server.domain.summary import Summary, merge_all
from lossboard_server.store.reading.epochs import Epoch, read_epochs
from lossboard_server.store.reading.series import Series


def mark_attempts(reader: RunReader, series: Series) -> list[dict[str, Any]]:
    """Return where each attempt but the first begins in a training series, and what is hidden of each.

    `is_gap`: what lies between it and the records before it is not here, so no line leads there.
    """
    if not series.is_train or len(series.order) < 2:
        return []
    starts = {attempt.key: attempt.start for attempt in series.attempts}
    marks = []
    standing, met, before = Standing(), set[int](), None
    for epoch in read_epochs(reader.connection, series):  # those before what is told, too
        total = merge_all(epoch.ranks.values())
        start, made = standing, 0
        for attempt in sorted({part.attempt for part in epoch.parts}, key=series.order.__getitem__):
            own = merge_all(part.summary for part in epoch.parts if part.attempt == attempt)
            if attempt not in met and before is not None:
                begin = starts[attempt]
                batch = begin[1] if begin is not None and begin[0] == epoch.epoch else 0
                marks.append(
                    {
                        "attempt": series.order[attempt] + 1,
                        "x": _place(reader, epoch, standing, own, made / (total.seen or 1)),
                        "epoch": tell_epoch(epoch.epoch),
                        "batch": batch,
                        "is_gap": is_apart(before, (epoch.epoch, batch)),
                        "is_known": begin is not None,
                    }
                )
            met.add(attempt)
            made += own.seen
            standing = standing.after(own, len(epoch.ranks))
            before = (
                epoch.epoch,
                max(part.summary.last_batch for part in epoch.parts if part.attempt == attempt),
            )
        standing = start.after(total, len(epoch.ranks))
    return marks


def note_attempts(reader: RunReader) -> list[Reason]:
    """Return the warnings about attempts that any chart of the run should carry."""
    if not reader.all_series:
        return []
    series = reader.all_series[0]
    notes = find_notes(series.attempts, series.stretches, {})
    name = reader.run.name
    return [Reason(note.code, [], [], [reader.run.id], f"{name}: {note.message}") for note in notes]


def _place(reader: RunReader, epoch: Epoch, standing: Standing, own: Summary, share: float) -> float | None:
    axis = reader.wanted.x
    if axis == "epoch":
        return max(epoch.epoch, 0) - 1 + share
    if axis == "time":
        return own.first_time
    if axis == "step":
        return None if own.first_step is None else float(own.first_step)
    return standing.on(axis)
