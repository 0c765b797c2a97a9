"""Who draws what is asked for: helper processes, and threads of the service until those are there."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple

from anyio import BrokenWorkerProcess, CapacityLimiter, to_process, to_thread

from lossboard_server.api.views import apart
from lossboard_server.errors import LossboardError
from lossboard_server.store.reader import Reader
from lossboard_server.store.writing.condition import Condition

Answer = TypeVar("Answer")
Arguments = TypeVarTuple("Arguments")

MAX_BREAKS: Final = 3  # helpers that end by themselves, until the service does without

logger = logging.getLogger(__name__)


class Readers:
    """Draws answers beside the writer, which shares its interpreter with whatever else the service computes.

    With 100 runs that log and 20 viewers, SQLite's driver waited for the interpreter at each row, and the
    newest records were seen after 2 s (tests/benchmarks/crowd.py). The helpers start with the first question.
    """

    def __init__(self, reader: Reader, condition: Condition, url: str, processes: int) -> None:
        self._reader = reader
        self._condition = condition
        self._url = url
        self._limiter = CapacityLimiter(max(processes, 1))
        self._is_wanted = processes > 0
        self._starting: asyncio.Task[None] | None = None
        self._breaks = 0
        self.is_ready = False
        """Whether helpers draw."""

    async def ask(self, draw: Callable[[Reader, *Arguments], Answer], *arguments: *Arguments) -> Answer:
        """Return what `draw` makes of a reader and the arguments, all of which a process can be sent.

        Raises: what `draw` raises.
        """
        if self._is_wanted and self._starting is None:
            self._starting = asyncio.create_task(self._start())
        if self.is_ready:
            try:
                return await to_process.run_sync(
                    apart.work, self._url, draw, arguments, limiter=self._limiter
                )
            except BrokenWorkerProcess:
                self._note_break("ended")
            except LossboardError as error:
                self._condition.tell(error)
                raise
        return await to_thread.run_sync(draw, self._reader, *arguments)

    async def close(self) -> None:
        """Start none any more; those that are there end with the loop."""
        self._is_wanted = self.is_ready = False
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])

    async def _start(self) -> None:
        """Start as many as may be, at once: one that is idle would be taken for the next."""
        count = int(self._limiter.total_tokens)
        try:
            await asyncio.gather(
                *(to_process.run_sync(apart.begin, self._url, limiter=self._limiter) for _ in range(count))
            )
        except Exception as error:
            self._note_break(f"did not start ({error!r})")
        else:
            self.is_ready = True

    def _note_break(self, what: str) -> None:
        self.is_ready, self._starting = False, None
        self._breaks += 1
        self._is_wanted = self._breaks < MAX_BREAKS
        then = "another is started" if self._is_wanted else "the service draws by itself from now on"
        logger.warning("a process that draws answers %s: %s", what, then)
