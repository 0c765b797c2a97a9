"""A helper process as the service has it: started, asked one question at a time, ended."""

import asyncio
import contextlib
import pickle
import subprocess
import sys
from typing import Any, Final

from lossboard_server.api.views import apart
from lossboard_server.api.views.apart import FRAME, Draw

END_TIMEOUT_S: Final = 1.0  # for a helper that draws; it only reads, so it may be killed then

# Ctrl-C, and a terminal that is closed, reach every process of a session: the service says when helpers end.
_OWN_SESSION: Final[dict[str, Any]] = (
    {"creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
    if sys.platform == "win32"
    else {"start_new_session": True}
)


class HelperEnded(Exception):
    """A helper ended before it had answered."""


class Helper:
    """One process that draws. Ask it from one task at a time."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, url: str) -> "Helper":
        """Start a process and wait until it has the database open.

        Raises: OSError, HelperEnded, what opening the database raises.
        """
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", apart.__name__),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            **_OWN_SESSION,
        )
        helper = cls(process)
        try:
            await helper._tell(url)
        except BaseException:
            await helper.end()
            raise
        return helper

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    async def ask(self, draw: Draw, arguments: tuple[Any, ...]) -> Any:
        """Return what `draw` makes of the helper's reader and the arguments.

        A caller that does not wait for the answer must end the helper.
        Raises: HelperEnded, what `draw` raises.
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
            await self._process.wait()

    async def _tell(self, what: Any) -> Any:
        questions, answers = self._process.stdin, self._process.stdout
        assert questions is not None
        assert answers is not None
        frame = pickle.dumps(what, pickle.HIGHEST_PROTOCOL)
        try:
            questions.write(FRAME.pack(len(frame)) + frame)
            await questions.drain()
            (size,) = FRAME.unpack(await answers.readexactly(FRAME.size))
            is_drawn, answer = pickle.loads(await answers.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError):
            raise HelperEnded from None
        if not is_drawn:
            raise answer
        return answer
