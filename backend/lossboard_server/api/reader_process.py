"""A reader process as the service has it: started, asked one question at a time, ended."""

import asyncio
import contextlib
import logging
import pickle
import subprocess
import sys
from typing import Any, Final

from lossboard_server.api.views import apart
from lossboard_server.api.views.apart import FRAME, Answer, Draw

END_TIMEOUT_S: Final = 1.0  # for one that draws; it only reads, so it may be killed then
KILL_TIMEOUT_S: Final = 2.0  # for one that a disk which hangs keeps from being killed

# Ctrl-C, and a terminal that is closed, reach every process of a session: the service says when these end.
_OWN_SESSION: Final[dict[str, Any]] = (
    {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    if sys.platform == "win32"
    else {"start_new_session": True}
)

logger = logging.getLogger(__name__)


class ProcessEnded(Exception):
    """A reader process ended before it had answered."""


class ReaderProcess:
    """One process that draws. It is asked by one task at a time, which ends it where it does not wait."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.is_damaged = False
        """Whether it has met damage of the database."""

    @classmethod
    async def start(cls, url: str) -> "ReaderProcess":
        """Start a process and wait until it has the database open.

        Raises: OSError, ProcessEnded, what opening the database raises.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", apart.__name__),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            limit=sys.maxsize,  # of what is read ahead: while a pipe is paused, asyncio sees no process end
            **_OWN_SESSION,
        )
        started = cls(process)
        try:
            await started._tell(url)
        except BaseException:
            await started.end()
            raise
        return started

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    async def ask(self, draw: Draw, arguments: tuple[Any, ...]) -> Any:
        """Return what `draw` makes of the process's reader and the arguments.

        Raises: ProcessEnded, what `draw` raises.
        """
        return await self._tell((draw, arguments))

    async def end(self) -> None:
        """Let the process end, or kill it, and wait until it has."""
        questions = self._process.stdin
        assert questions is not None
        questions.close()
        try:
            await asyncio.wait_for(self._process.wait(), END_TIMEOUT_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            try:
                await asyncio.wait_for(self._process.wait(), KILL_TIMEOUT_S)
            except TimeoutError:
                logger.warning("reader process %d hangs and can't be killed", self.pid)

    async def _tell(self, what: Any) -> Any:
        questions, answers = self._process.stdin, self._process.stdout
        assert questions is not None
        assert answers is not None
        frame = pickle.dumps(what, pickle.HIGHEST_PROTOCOL)
        try:
            questions.write(FRAME.pack(len(frame)) + frame)
            await questions.drain()
            (size,) = FRAME.unpack(await answers.readexactly(FRAME.size))
            told = await answers.readexactly(size)
        except (
            asyncio.IncompleteReadError,
            OSError,
            RuntimeError,
        ):  # the last is a closed pipe's with uvloop
            raise ProcessEnded from None
        answer = Answer(*pickle.loads(told))
        self.is_damaged = answer.is_damaged
        if answer.error is not None:
            raise answer.error
        return answer.value
