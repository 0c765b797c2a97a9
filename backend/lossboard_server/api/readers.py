"""Who draws what is asked for: helper processes, and threads of the service until those are there."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple

from anyio import to_thread

from lossboard_server.api.helpers import Helper, HelperEnded
from lossboard_server.errors import LossboardError
from lossboard_server.store.reader import Reader
from lossboard_server.store.writing.condition import Condition

Answer = TypeVar("Answer")
Arguments = TypeVarTuple("Arguments")

MAX_BREAKS: Final = 3  # helpers that end by themselves, until the service does without

logger = logging.getLogger(__name__)


class Readers:
    """Draws answers beside the writer, which shares its interpreter with all that the service computes.

    With 100 runs that log and 20 viewers, SQLite's driver waited for the interpreter at each row, and the
    newest records were seen 2 s late (tests/benchmarks/crowd.py). The helpers start with the first question.
    All methods are of one event loop.
    """

    def __init__(self, reader: Reader, condition: Condition, url: str, processes: int) -> None:
        self._reader = reader
        self._condition = condition
        self._url = url
        self._processes = processes
        self._starting: asyncio.Task[None] | None = None
        self._helpers: set[Helper] = set()
        self._idle: list[Helper] = []
        self._changed = asyncio.Condition()
        """That a helper is idle now, or has ended."""
        self._breaks = 0

    @property
    def helpers(self) -> list[int]:
        """The ids of the processes that draw."""
        return [helper.pid for helper in self._helpers]

    async def ask(self, draw: Callable[[Reader, *Arguments], Answer], *arguments: *Arguments) -> Answer:
        """Return what `draw`, a module's function, makes of a reader and of arguments that can be pickled.

        Raises: what `draw` raises.
        """
        if self._starting is None and len(self._helpers) < self._processes:
            self._starting = asyncio.create_task(self._start())
        if self._helpers:
            try:
                return await self._ask_helper(draw, *arguments)
            except HelperEnded:
                pass
            except LossboardError as error:
                self._condition.tell(error)
                raise
        return await to_thread.run_sync(draw, self._reader, *arguments)

    async def close(self) -> None:
        """End the helpers, so that the database's last connection is the service's own."""
        self._processes = 0
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        await asyncio.gather(*(self._drop(helper) for helper in list(self._helpers)))

    async def _ask_helper(
        self, draw: Callable[[Reader, *Arguments], Answer], *arguments: *Arguments
    ) -> Answer:
        helper = await self._take()
        try:
            answer: Answer = await helper.ask(draw, arguments)
        except HelperEnded:
            await self._drop(helper)
            self._note_break("ended")
            raise
        except asyncio.CancelledError:
            await self._drop(helper)  # or its next caller would get this answer
            raise
        except BaseException:
            await self._put(helper)
            raise
        await self._put(helper)
        return answer

    async def _take(self) -> Helper:
        """Take a helper that is idle. Raises: HelperEnded where none is left."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._idle or not self._helpers)
            if not self._idle:
                raise HelperEnded
            return self._idle.pop()

    async def _put(self, helper: Helper) -> None:
        async with self._changed:
            self._helpers.add(helper)
            self._idle.append(helper)
            self._changed.notify()

    async def _drop(self, helper: Helper) -> None:
        async with self._changed:
            self._helpers.discard(helper)
            self._idle = [other for other in self._idle if other is not helper]
            self._changed.notify_all()
        await helper.end()

    async def _start(self) -> None:
        try:
            while len(self._helpers) < self._processes:
                await self._put(await Helper.start(self._url))
        except Exception as error:
            self._note_break(f"did not start ({error!r})")
        finally:
            self._starting = None

    def _note_break(self, what: str) -> None:
        if not self._processes:
            return  # it was to end, or has been told
        self._breaks += 1
        if self._breaks >= MAX_BREAKS:
            self._processes = 0
        then = "another is started" if self._processes else "the service draws by itself from now on"
        logger.warning("a process that draws %s: %s", what, then)
