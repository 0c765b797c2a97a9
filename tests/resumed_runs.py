"""Runs that were resumed, as journals of their writers, and orders in which these may reach a service."""

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

from hypothesis import strategies as st

START = 1e9
SENT = START + 1e6  # by the writers' clock: all of it was recorded long ago
LENGTHS = (3, 20, 70)  # batches of an epoch: below, above and far above the smallest bucket


class Writer(NamedTuple):
    """One rank of one attempt, and all it recorded, in its order."""

    name: str
    attempt: float
    rank: int
    rows: list[dict[str, Any]]


class Attempt(NamedTuple):
    """One start of the training: what its PUT says, and its writers."""

    started: float
    start: tuple[int, int] | None
    world_size: int
    is_told_late: bool
    """Its first PUT does not say yet where it starts."""
    writers: list[Writer]

    def body(self, *, is_late: bool) -> dict[str, Any]:
        """Return the body of its PUT."""
        epoch, batch = self.start if self.start is not None and is_late else (None, 0)
        told = {"started_unix_s": self.started, "start_epoch": epoch, "start_batch": batch}
        return {
            "name": "a run",
            "config": {"started": self.started},
            "attempt": told | {"world_size": self.world_size, "resumed": self.start is not None},
        }


Request = tuple[str, dict[str, Any]]
"""PUT or POST, and its body."""


@st.composite
def histories(draw: st.DrawFn) -> list[Attempt]:
    """Draw the attempts of one run, in the order of their starts."""
    rng = random.Random(draw(st.integers(0, 10**9)))
    length = draw(st.sampled_from(LENGTHS))
    is_declared = draw(st.integers(0, 3)) > 0
    starts = draw(
        st.lists(
            st.none() | st.tuples(st.integers(0, 3), st.sampled_from([0, 0, 1, 2, length - 1])),
            min_size=1,
            max_size=3,
        )
    )
    return [
        _attempt(rng, number, start, length, is_declared, world_size=draw(st.sampled_from([1, 1, 2])))
        for number, start in enumerate(starts)
    ]


def _attempt(
    rng: random.Random,
    number: int,
    start: tuple[int, int] | None,
    length: int,
    is_declared: bool,
    world_size: int,
) -> Attempt:
    started = START + 1000.0 * number
    first, epochs = start or (0, 0), rng.randint(1, 3)
    extra = rng.random() < 0.3  # a series that only this attempt has
    is_silent = rng.random() < 0.15  # known by its PUT only
    end = rng.randint(1, length)
    writers = []
    for rank in range(world_size):
        rows = [] if is_silent else list(_rows(rng, started, first, epochs, end, length, is_declared, extra))
        writers.append(Writer(f"w{number}r{rank}", started, rank, rows))
    is_told_late = rng.random() < 0.5
    return Attempt(started, None if number == 0 else start, world_size, is_told_late, writers)


def _rows(
    rng: random.Random,
    started: float,
    first: tuple[int, int],
    epochs: int,
    end: int,
    length: int,
    is_declared: bool,
    extra: bool,
) -> Iterator[dict[str, Any]]:
    """Yield an attempt's records, the last epoch broken off at `end`, a validation in each epoch."""
    time, step = started, 0
    for epoch in range(first[0], first[0] + epochs):
        stop = end if epoch == first[0] + epochs - 1 else length
        passes = {stop // 2, stop - 1} if rng.random() < 0.5 else {stop - 1}
        number = 0
        for batch in range(first[1] if epoch == first[0] else 0, stop):
            time, step = time + 1.0, step + batch % 2
            place = {"epoch": epoch if is_declared else None, "batch": batch, "time": time, "step": step}
            loss = "NaN" if rng.random() < 0.01 else rng.gauss(3, 1)
            yield {**place, "series": "train/loss", "loss": loss, "batch_size": 4, "weight": 6.0}
            if extra:
                yield {
                    **place,
                    "series": "train/extra",
                    "loss": rng.gauss(1, 1),
                    "batch_size": 4,
                    "weight": 6.0,
                }
            if batch in passes:
                yield from _validate(rng, place, time, number)
                number += 1


def _validate(
    rng: random.Random, place: dict[str, Any], time: float, number: int
) -> Iterator[dict[str, Any]]:
    for batch in range(2):
        about = place | {"batch": batch, "time": time + 0.1 * (batch + 1), "pass_no": number, "split": "val"}
        yield about | {"series": "val/loss", "loss": rng.gauss(2, 1), "batch_size": 5, "weight": 7.0}


def in_order(history: list[Attempt]) -> Iterator[Request]:
    """Yield what a service hears that is there all the time."""
    for attempt in history:
        yield "PUT", attempt.body(is_late=True)
        for writer in attempt.writers:
            yield from _post(writer, [len(writer.rows)])
    yield from _ends(history)


def in_any_order(history: list[Attempt], rng: random.Random) -> list[Request]:
    """Return the same, cut into other requests and shuffled, some of them sent twice.

    A writer's own requests stay in their order, and its PUT comes before the end of the run; its
    records may come before the PUT that says where it starts.
    """
    queues: list[list[Request]] = []
    for attempt in history:
        told = [("PUT", attempt.body(is_late=True))]
        if attempt.is_told_late:
            told.insert(0, ("PUT", attempt.body(is_late=False)))
        if attempt.world_size > 1:
            told.append(("PUT", attempt.body(is_late=False)))  # a rank that has not heard of the start
        queues.append(told)
        for writer in attempt.writers:
            cuts = rng.sample(range(1, len(writer.rows)), min(2, len(writer.rows) - 1)) if writer.rows else []
            queues.append(list(_post(writer, [*sorted(cuts), len(writer.rows)])))
    found: list[Request] = []
    while any(queues):
        queue = rng.choice([queue for queue in queues if queue])
        found.append(queue.pop(0))
        if rng.random() < 0.3:
            found.append(rng.choice(found))
    return [*found, *_ends(history)]


def _post(writer: Writer, ends: list[int]) -> Iterator[Request]:
    first = 0
    for end in ends:
        if end > first:
            yield "POST", _columns(writer, first, end)
        first = end


def _ends(history: list[Attempt]) -> Iterator[Request]:
    """Yield the writers' last words: all but the newest attempt's came to a bad end."""
    for attempt in history:
        state = "finished" if attempt is history[-1] else "failed"
        for writer in attempt.writers:
            head = {"writer": writer.name, "attempt": writer.attempt, "rank": writer.rank, "sent": SENT}
            yield "POST", head | {"records": [], "state": state}


def _columns(writer: Writer, first: int, end: int) -> dict[str, Any]:
    """Return some of a writer's records in the form that our client sends."""
    series: dict[str, dict[str, Any]] = {}
    for index, row in enumerate(writer.rows[first:end], start=first):
        columns = series.setdefault(
            row["series"],
            {"reduction": "mean", "weight_unit": "tokens", "weight_source": "exact", "index": []},
        )
        columns["index"].append(index)
        for name in ("epoch", "batch", "loss", "batch_size", "weight", "time", "step"):
            columns.setdefault(name, []).append(row[name])
        if row["series"].startswith("val/"):
            columns.setdefault("pass_no", []).append(row["pass_no"])
    head = {"writer": writer.name, "seq": first, "attempt": writer.attempt, "rank": writer.rank, "sent": SENT}
    return head | {"series": series}
