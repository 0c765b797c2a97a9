"""Who draws what is asked for: reader processes, and threads of the service until those are there."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple

from anyio import to_thread

from lossboard_server.api.reader_process import ProcessEnded, ReaderProcess
from lossboard_server.errors import LossboardError, StorageDamaged, Unavailable
from lossboard_server.store.reader import Reader

Answer = TypeVar("Answer")
Arguments = TypeVarTuple("Arguments")

# After the first, second and further process that broke within a minute, until another is started.
RESTS_S: Final = (0.0, 1.0, 60.0)
BREAKS_WITHIN_S: Final = 60.0

logger = logging.getLogger(__name__)


class Readers:
    """Draws answers beside the writer, which shares its interpreter with all that the service computes.

    With 100 runs that log and 20 viewers, SQLite's driver waited for the interpreter at each row, and the
    newest records were seen 2 s late (tests/benchmarks/crowd.py). The processes start with the first
    question. All methods are of one event loop.
    """

    def __init__(self, reader: Reader, url: str, processes: int) -> None:
        self._reader = reader
        self._url = url
        self._count = processes
        self._is_closed = False
        self._starting: asyncio.Task[None] | None = None
        self._processes: set[ReaderProcess] = set()
        self._idle: list[ReaderProcess] = []
        self._ending: set[ReaderProcess] = set()
        self._changed = asyncio.Condition()
        """That a process is idle now, or has ended."""
        self._breaks: list[float] = []
        self._rests_until = 0.0

    @property
    def processes(self) -> list[int]:
        """The ids of the processes that draw. Any thread may ask."""
        return [process.pid for process in tuple(self._processes)]

    async def ask(self, draw: Callable[[Reader, *Arguments], Answer], *arguments: *Arguments) -> Answer:
        """Return what `draw`, a module's function, makes of a reader and of arguments that can be pickled.

        Raises: what `draw` raises, Unavailable after `close`.
        """
        if self._is_closed:
            raise Unavailable("The service is stopping. Ask again when it is back.")
        is_short = len(self._processes) < self._count
        if is_short and self._starting is None and time.monotonic() >= self._rests_until:
            self._starting = asyncio.create_task(self._start())
        if self._processes:
            try:
                return await self._ask_process(draw, *arguments)
            except ProcessEnded:
                pass
        return await to_thread.run_sync(draw, self._reader, *arguments)

    async def close(self) -> None:
        """End the processes, so that the database's last connection is the service's own."""
        self._is_closed = True
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        await asyncio.gather(*(self._drop(process) for process in self._processes | self._ending))

    async def _ask_process(
        self, draw: Callable[[Reader, *Arguments], Answer], *arguments: *Arguments
    ) -> Answer:
        process = await self._take()
        try:
            answer: Answer = await process.ask(draw, arguments)
        except ProcessEnded:
            await self._drop(process)
            self._note_break("ended")
            raise
        except asyncio.CancelledError:
            await self._drop(process)  # or its next caller would get this answer
            raise
        except BaseException as error:
            await self._put(process)
            if isinstance(error, LossboardError):
                self._reader.condition.tell(error)
            raise
        await self._put(process)
        return answer

    async def _take(self) -> ReaderProcess:
        """Take a process that is idle. Raises: ProcessEnded where none is left."""
        async with self._changed:
            try:
                await self._changed.wait_for(lambda: self._idle or not self._processes)
            except asyncio.CancelledError:
                self._changed.notify()  # it may have been told, and another waits for the same
                raise
            if not self._idle:
                raise ProcessEnded
            return self._idle.pop()

    async def _put(self, process: ReaderProcess) -> None:
        condition = self._reader.condition
        if process.is_damaged and condition.storage != "damaged":
            condition.tell(StorageDamaged("A reader process has met damage of the database."))
        async with self._changed:
            if process not in self._ending:
                self._processes.add(process)
                self._idle.append(process)
                self._changed.notify()

    async def _drop(self, process: ReaderProcess) -> None:
        async with self._changed:
            self._processes.discard(process)
            self._idle = [other for other in self._idle if other is not process]
            self._ending.add(process)
            self._changed.notify_all()
        await process.end()
        self._ending.discard(process)

    async def _start(self) -> None:
        try:
            while len(self._processes) < self._count:
                await self._put(await ReaderProcess.start(self._url))
        except Exception as error:
            self._note_break(f"did not start ({error!r})")
        finally:
            self._starting = None

    def _note_break(self, what: str) -> None:
        if self._is_closed:
            return
        now = time.monotonic()
        self._breaks = [*(at for at in self._breaks if now - at < BREAKS_WITHIN_S), now]
        rest_s = RESTS_S[min(len(self._breaks), len(RESTS_S)) - 1]
        self._rests_until = now + rest_s
        then = f"no other is started for {rest_s:g} s" if rest_s else "another is started"
        logger.warning("a reader process %s: %s", what, then)
