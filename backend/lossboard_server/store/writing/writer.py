"""The one writer: a thread with a queue that commits many jobs at once and answers after the commit."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar
from zlib import crc32

from sqlalchemy import Connection, Engine

from lossboard_server.domain.changes import Change
from lossboard_server.errors import Busy, Unavailable
from lossboard_server.store.database import for_writing
from lossboard_server.store.failures import is_locked, is_passing
from lossboard_server.store.statements import savepoint
from lossboard_server.store.writing.condition import Condition
from lossboard_server.store.writing.wal import Wal

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

MAX_QUEUED = 256  # jobs; a full queue is answered 429, and the client keeps its journal
MAX_GROUP = 64  # jobs in one transaction: beyond this the commit no longer dominates
MAX_TRIES = 3  # of a group that was undone as a whole
RETRY_INTERVAL_S = 0.1  # times the tries so far
WARN_INTERVAL_S = 10.0
CLOSE_TIMEOUT_S = 5.0


@dataclass(slots=True)
class _Job:
    work: Callable[[Connection], tuple[Any, list[Change]]]
    answer: "Future[Any]"
    run: str


@dataclass(slots=True)
class _Outcome:
    done: list[tuple[_Job, Any, list[Change]]] = field(default_factory=list)
    failed: list[tuple[_Job, BaseException]] = field(default_factory=list)
    undone_by: Exception | None = None
    """Why nothing of it was stored, where the same may work a moment later."""


class Writer:
    """Runs jobs one after another on one connection, as SQLite would serialise them anyway.

    On PostgreSQL several threads do so side by side, each on a connection of its own, and a run's jobs
    stay with one of them in their order.

    A job gets a connection inside a savepoint and returns its answer and what changed. Its future is
    set after the commit, never before; a job that raises undoes only itself. A group that was undone as
    a whole before its commit, by a deadlock or a lost connection, is done anew; a commit whose answer is
    lost may have been one, so its jobs fail and are sent again.
    """

    def __init__(
        self,
        engine: Engine,
        announce: Callable[[list[Change]], None],
        condition: Condition | None = None,
        wal: Wal | None = None,
        threads: int = 1,
    ) -> None:
        self._engine = for_writing(engine)
        self._condition = condition or Condition()
        self._wal = wal
        self._announce = announce
        self._queues: list[queue.Queue[_Job | None]] = [queue.Queue(MAX_QUEUED) for _ in range(threads)]
        self._is_closed = False
        self._quiet_until = 0.0
        self.refused = 0
        """Jobs that a full queue did not take."""
        self._threads = [
            threading.Thread(target=self._run, args=(jobs,), name="lossboard-writer", daemon=True)
            for jobs in self._queues
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self, work: Callable[[Connection], tuple[Result, list[Change]]], run: str = ""
    ) -> "Future[Result]":
        """Queue a job; `run` is the id of the run that it changes.

        Raises: Busy if the queue is full, Unavailable after `close`.
        """
        if self._is_closed:
            raise Unavailable("The service is stopping. Send this again when it is back.")
        answer: Future[Result] = Future()
        try:
            jobs = self._queues[crc32(run.encode()) % len(self._queues)]
            jobs.put_nowait(_Job(work, answer, run))
        except queue.Full:
            self.refused += 1
            detail = "More is coming in than the disk takes. Nothing was stored; send it again."
            raise Busy(detail, headers={"Retry-After": "1"}) from None
        return answer

    @property
    def queued(self) -> int:
        """How many jobs wait."""
        return sum(jobs.qsize() for jobs in self._queues)

    def close(self) -> bool:
        """Finish what is queued, then end the threads; tell whether they have ended."""
        self._is_closed = True
        for jobs in self._queues:
            jobs.put(None)
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self, jobs: "queue.Queue[_Job | None]") -> None:
        while True:
            job = jobs.get()
            if job is None:
                return
            group = [job]
            is_last = False
            while len(group) < MAX_GROUP:
                try:
                    more = jobs.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    is_last = True
                    break
                group.append(more)
            self._commit(group)
            if is_last:
                return

    def _commit(self, group: list[_Job]) -> None:
        # A caller may have gone away meanwhile; from here on nobody can cancel a job. All
        # replicas take their locks in the order of the runs' ids, so that none waits in a circle.
        jobs = sorted(
            (job for job in group if job.answer.set_running_or_notify_cancel()), key=lambda job: job.run
        )
        outcome = _Outcome()
        for tries in range(1, MAX_TRIES + 1):
            outcome = self._try(jobs)
            if outcome.undone_by is None or tries == MAX_TRIES:
                break
            time.sleep(RETRY_INTERVAL_S * tries)
        if outcome.undone_by is not None:
            self._warn(len(jobs), outcome.undone_by)
            outcome.failed = [(job, outcome.undone_by) for job in jobs]
        if outcome.done:
            self._condition.note_commit()
        for job, problem in outcome.failed:
            job.answer.set_exception(self._condition.tell(problem))
        changes = [change for _, _, told in outcome.done for change in told]
        if changes:
            self._announce(changes)
        for job, answer, _ in outcome.done:
            job.answer.set_result(answer)
        if self._wal is not None:
            self._wal.bound()

    def _try(self, jobs: list[_Job]) -> _Outcome:
        is_committing = False
        try:
            with self._engine.connect() as connection, connection.begin() as transaction:
                outcome = _work(connection, jobs)
                is_committing = True
                transaction.commit()
        except Exception as error:  # every job of the group is undone, or nobody knows
            if not is_committing and is_passing(error):
                return _Outcome(undone_by=error)
            if len(jobs) > 1:
                self._warn(len(jobs), error)
            return _Outcome(failed=[(job, error) for job in jobs])
        return outcome

    def _warn(self, jobs: int, error: Exception) -> None:
        # While a database is away every group fails, several times a second.
        if time.monotonic() >= self._quiet_until:
            self._quiet_until = time.monotonic() + WARN_INTERVAL_S
            logger.warning("a group commit of %d jobs failed: %s", jobs, error)


def _work(connection: Connection, jobs: list[_Job]) -> _Outcome:
    """Do jobs, each in its savepoint. Raises what undoes them all."""
    outcome = _Outcome()
    locked: dict[str, Exception] = {}
    for job in jobs:
        if job.run in locked:  # one of them has waited long enough for all
            outcome.failed.append((job, locked[job.run]))
            continue
        try:
            with savepoint(connection):
                answer, changes = job.work(connection)
        except Exception as error:
            if is_passing(error):
                raise
            if is_locked(error) and job.run:
                locked[job.run] = error
            outcome.failed.append((job, error))
        else:
            outcome.done.append((job, answer, changes))
    return outcome
