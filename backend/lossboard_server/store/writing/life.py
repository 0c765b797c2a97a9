"""What a delivery tells of its run's life: signs of life, the pace of its records, the state it comes to."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from operator import sub
from types import SimpleNamespace
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, or_, select

from lossboard import wire
from lossboard_server.domain.blocks import Block
from lossboard_server.domain.pace import LOST_AFTER_S, Pace
from lossboard_server.domain.run_state import LOST, RUNNING, STALLED, Life, join
from lossboard_server.store.statements import Statement
from lossboard_server.store.tables import SILENT, AttemptRow, RunRow, WriterRow
from lossboard_server.store.writing.deliveries import Delivery, Sender

NEVER = 0.0  # unix s: a writer that others speak for, long after it was alive

LIFE = (
    RunRow.attempt_unix_s,
    RunRow.attempt_seen_unix_s,
    RunRow.last_seen_unix_s,
    RunRow.last_record_unix_s,
    RunRow.usual_interval_s,
    RunRow.usual_over_s,
    RunRow.pause_s,
    RunRow.stalled_after_s,
    RunRow.lost_after_s,
)
"""The columns of a run that tell of its life, beside its state."""

# In such an order that the last of a rank counts: it may have been started again.
_WRITERS = (
    select(WriterRow.__table__)
    .join(AttemptRow, (AttemptRow.run == WriterRow.run) & (AttemptRow.key == WriterRow.attempt))
    .where(WriterRow.state != SILENT)
    .order_by(WriterRow.last_seen_unix_s, WriterRow.writer)
)
# Made once: each request of a training asks it.
_SPEAKERS = Statement(
    _WRITERS.where(
        WriterRow.run == bindparam("of_run"),
        or_(
            AttemptRow.started_unix_s == bindparam("attempt"), WriterRow.last_seen_unix_s > bindparam("began")
        ),
    )
)


def begin_life(now: float) -> dict[str, Any]:
    """Return the columns of a run that was made this moment."""
    return {
        "state": RUNNING,
        "attempt_unix_s": None,
        "attempt_seen_unix_s": now,
        "last_seen_unix_s": now,
        "usual_over_s": 0.0,
        "pause_s": 0.0,
        "lost_after_s": LOST_AFTER_S,
    }


def begin_attempt(run: Any, started: float, now: float) -> dict[str, Any]:
    """Return what changes of a run with an attempt that was told of; nothing unless it is the newest."""
    if run.attempt_unix_s is not None and started <= run.attempt_unix_s:
        return {}
    told = {"attempt_unix_s": started, "attempt_seen_unix_s": now, "last_seen_unix_s": now}
    return told | {"state": RUNNING, "lost_after_s": LOST_AFTER_S}


def describe_life(row: Any, now: float) -> Life:
    """Return how a run is at a moment; a clock that was set back makes no age negative."""
    has_recorded = row.last_record_unix_s is not None and row.last_record_unix_s >= row.attempt_seen_unix_s
    return Life(
        row.state,
        max(0.0, now - row.last_seen_unix_s),
        row.lost_after_s,
        max(0.0, now - row.last_record_unix_s) if has_recorded else None,
        row.stalled_after_s,
    )


def states_at(now: float) -> dict[str, ColumnElement[bool]]:
    """Return, by state, the condition that a run is in it: `Life.state` in SQL."""
    is_running = RunRow.state == RUNNING
    is_lost = now - RunRow.last_seen_unix_s > RunRow.lost_after_s
    is_stalled = and_(
        RunRow.last_record_unix_s.is_not(None),
        RunRow.stalled_after_s.is_not(None),
        RunRow.last_record_unix_s >= RunRow.attempt_seen_unix_s,
        now - RunRow.last_record_unix_s > RunRow.stalled_after_s,
    )
    timed = {
        RUNNING: and_(is_running, ~is_lost, ~is_stalled),
        STALLED: and_(is_running, ~is_lost, is_stalled),
        LOST: and_(is_running, is_lost),
    }
    return timed | {state: RunRow.state == state for state in wire.END_STATES}


def list_ranks(connection: Connection, runs: Sequence[int], now: float) -> dict[int, dict[str, int]]:
    """Return, by run, how many ranks of its newest attempt are in which state.

    Cost: one question for all runs.
    """
    query = _WRITERS.join(
        RunRow, (RunRow.key == WriterRow.run) & (RunRow.attempt_unix_s == AttemptRow.started_unix_s)
    ).where(WriterRow.run.in_(runs))
    newest: dict[int, dict[int, str]] = {run: {} for run in runs}
    for row in connection.execute(query):
        is_lost = row.state == RUNNING and now - row.last_seen_unix_s > LOST_AFTER_S
        newest[row.run][row.rank] = LOST if is_lost else row.state
    return {run: dict(Counter(states.values())) for run, states in newest.items()}


@dataclass(slots=True)
class Signs:
    """What one delivery tells, beside what was known of its run.

    An attempt that is not the newest says nothing of the run any more, unless it beats: its
    journal may come days late.
    """

    run: Any
    delivery: Delivery
    now: float
    logged: Sequence[float] = ()
    """When its new records were logged, in order, in unix seconds of the service's clock."""

    @property
    def sender(self) -> Sender | None:
        """Who sends; None by hand."""
        return self.delivery.sender

    @property
    def is_beat(self) -> bool:
        """Whether the sender itself says that it is alive."""
        return self.delivery.state == RUNNING

    @property
    def is_newest(self) -> bool:
        """Whether no later attempt is known."""
        known = self.run.attempt_unix_s
        return self.sender is None or known is None or self.sender.attempt >= known

    def hear(self, blocks: Sequence[Block]) -> None:
        """Take the records that are new, by their times on the clock of the sender.

        Where it does not tell what that clock shows, the newest counts as logged this moment.
        """
        times = sorted(time for block in blocks for time in block.time or () if time is not None)
        if not times:
            self.logged = [self.now] if blocks else []
            return
        sent = None if self.sender is None else self.sender.sent
        shift = self.now - (times[-1] if sent is None else max(sent, times[-1]))
        self.logged = [time + shift for time in times]

    def find_seen(self) -> float | None:
        """Return the sign of life, in unix seconds; None where there is none.

        A record is one of the moment it was logged: what is left of a dead process comes late. A
        goodbye is none, others may deliver it.
        """
        if self.is_beat:
            return self.now
        return self.logged[-1] if self.logged and self.is_newest else None

    def tell_run(self, connection: Connection) -> dict[str, Any]:
        """Return the new values of the run's state and columns of life; its writer must be stored."""
        run, sender, told = self.run, self.sender, self.delivery.state
        values = {"state": run.state} | {column.key: getattr(run, column.key) for column in LIFE}
        if told is not None and sender is not None and self.is_newest:
            values["attempt_unix_s"] = sender.attempt
            if run.attempt_unix_s is not None and sender.attempt > run.attempt_unix_s:
                values["attempt_seen_unix_s"] = self.now
        if self.logged and self.is_newest:
            values |= self._tell_records()
        seen = self.find_seen()
        if seen is not None:
            # Where it was only told of so far, the moment of that was no sign of life.
            is_first = run.last_seen_unix_s == run.attempt_seen_unix_s
            values["last_seen_unix_s"] = seen if is_first else self._later(run.last_seen_unix_s, seen)
        if sender is not None and self.is_beat:
            values["lost_after_s"] = LOST_AFTER_S
        if told is not None:
            values["state"] = self._join_states(connection, values) or told
        return values

    def is_news(self, told: dict[str, Any]) -> bool:
        """Whether viewers must hear of it: a state that is another than a moment ago, or a rank's end."""
        after = describe_life(SimpleNamespace(**told), self.now).state
        return after != describe_life(self.run, self.now).state or self.delivery.state in wire.END_STATES

    def _tell_records(self) -> dict[str, Any]:
        run, logged = self.run, self.logged
        pace = Pace(run.usual_interval_s, run.usual_over_s, run.pause_s)
        last = run.last_record_unix_s
        has_recorded = last is not None and last >= run.attempt_seen_unix_s
        base = min(last if has_recorded else run.attempt_seen_unix_s, self.now)
        gap = max(0.0, logged[0] - base)
        gaps = list(map(sub, logged[1:], logged))
        pace = pace.after([gap, *gaps]) if has_recorded else pace.begin(gap).after(gaps)
        values = {
            # What it logged before the service heard of it is of this attempt, too.
            "attempt_seen_unix_s": min(run.attempt_seen_unix_s, logged[0]),
            "last_record_unix_s": logged[-1] if last is None else self._later(last, logged[-1]),
            "usual_interval_s": pace.usual_s,
            "usual_over_s": pace.over_s,
            "pause_s": pace.pause_s,
            "stalled_after_s": pace.stalled_after_s,
        }
        return values if self.sender is not None else values | {"lost_after_s": pace.lost_after_s}

    def _later(self, known: float, heard: float) -> float:
        """Return the later of two times; a known one that lies ahead is of a clock set back since."""
        return heard if known > self.now else max(known, heard)

    def _join_states(self, connection: Connection, values: dict[str, Any]) -> str | None:
        """Join what the writers told that stand for the run now; None where a person's word stands.

        They are those of the newest attempt, and of an earlier one whoever was alive beside it. A rank that
        was started again is as its newest writer says; one that never told a state, as a
        forked child, does not count.
        """
        attempt, began = values["attempt_unix_s"], values["attempt_seen_unix_s"]
        rows = _SPEAKERS.run(connection, {"of_run": self.run.key, "attempt": attempt, "began": began})
        if self.sender is None:
            alive = any(
                row.state == RUNNING and row.last_seen_unix_s >= self.now - LOST_AFTER_S for row in rows
            )
            return RUNNING if alive else None
        joined = join({(row.attempt, row.rank): row.state for row in rows}.values())
        speaks = self.is_newest or self.is_beat or any(row.writer == self.sender.writer for row in rows)
        return joined if speaks else str(self.run.state)
