"""The one writer: a thread with a queue that commits many jobs at once and answers after the commit."""

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from lossboard_server.domain.changes import Change
from lossboard_server.errors import Busy, Unavailable
from lossboard_server.store.database import as_public

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

MAX_QUEUED = 256  # jobs; a full queue is answered 429, and the client keeps its journal
MAX_GROUP = 64  # jobs in one transaction: beyond this the commit no longer dominates
CLOSE_TIMEOUT_S = 5.0


@dataclass(slots=True)
class _Job:
    work: Callable[[Connection], tuple[Any, list[Change]]]
    answer: "Future[Any]"


class Writer:
    """Runs jobs one after another on one connection, as SQLite would serialise them anyway.

    A job gets a connection inside a savepoint and returns its answer and what changed.
    Its future is set after the commit, never before; a job that raises undoes only itself.
    """

    def __init__(self, engine: Engine, announce: Callable[[list[Change]], None]) -> None:
        self._engine = engine.execution_options(writes=True)
        self._announce = announce
        self._jobs: queue.Queue[_Job | None] = queue.Queue(MAX_QUEUED)
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="lossboard-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Connection], tuple[Result, list[Change]]]) -> "Future[Result]":
        """Queue a job.

        Raises: Busy if the queue is full, Unavailable after `close`.
        """
        if self._is_closed:
            raise Unavailable("The service is stopping. Send this again when it is back.")
        answer: Future[Result] = Future()
        try:
            self._jobs.put_nowait(_Job(work, answer))
        except queue.Full:
            detail = "More is coming in than the disk takes. Nothing was stored; send it again."
            raise Busy(detail, headers={"Retry-After": "1"}) from None
        return answer

    def close(self) -> None:
        """Finish what is queued, then end the thread."""
        self._is_closed = True
        self._jobs.put(None)
        self._thread.join(CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            group = [job]
            is_last = False
            while len(group) < MAX_GROUP:
                try:
                    more = self._jobs.get_nowait()
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
        done: list[tuple[_Job, Any, list[Change]]] = []
        failed: list[tuple[_Job, BaseException]] = []
        try:
            with self._engine.connect() as connection, connection.begin():
                for job in group:
                    # A caller that went away meanwhile; from here on nobody can cancel it.
                    if not job.answer.set_running_or_notify_cancel():
                        continue
                    try:
                        with connection.begin_nested():
                            answer, changes = job.work(connection)
                    except Exception as error:
                        failed.append((job, error))
                    else:
                        done.append((job, answer, changes))
        except Exception as error:  # the commit itself: every job of the group is undone
            if len(group) > 1:
                logger.warning("a group commit of %d jobs failed: %s", len(group), error)
            failed = [(job, error) for job in group if not job.answer.cancelled()]
            done = []
        for job, problem in failed:
            job.answer.set_exception(as_public(problem))
        changes = [change for _, _, told in done for change in told]
        if changes:
            self._announce(changes)
        for job, answer, _ in done:
            job.answer.set_result(answer)
