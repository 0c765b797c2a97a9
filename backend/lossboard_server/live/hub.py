"""The hub: carries committed changes from the writer's thread to every open event stream."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

from lossboard_server.domain.changes import Change

COMMENT_INTERVAL_S = 15.0  # so that proxies and browsers know a silent stream from a dead one
COALESCE_S = 0.1  # at most ten events a second for a run: a page draws no faster
MAX_VIEWERS = 500
PATIENCE_S = 30.0  # with a viewer whose connection takes nothing more: a browser reads without its page


@dataclass(slots=True)
class RunChange:
    """What one event tells of one run."""

    run: str
    series: set[str] = field(default_factory=set)
    version: int = 0
    is_about_run: bool = False


class Viewer:
    """One open event stream and what it has not been told yet.

    Memory: one entry a changed run, however slowly the viewer reads.
    """

    def __init__(self, runs: frozenset[str]) -> None:
        self._runs = runs
        self._pending: dict[str, RunChange] = {}
        self._wake = asyncio.Event()
        self._is_closed = False

    def tell(self, change: Change) -> None:
        """Note a change, merged with what is pending for the same run."""
        is_followed = not self._runs or change.run in self._runs
        if not is_followed and not change.is_about_run:
            return
        pending = self._pending.setdefault(change.run, RunChange(change.run))
        if is_followed:
            pending.series |= change.series
        pending.version = max(pending.version, change.version)
        pending.is_about_run |= change.is_about_run
        self._wake.set()

    def close(self) -> None:
        """End the stream."""
        self._is_closed = True
        self._wake.set()

    async def changes(self) -> AsyncIterator[list[RunChange]]:
        """Yield what changed, at most every COALESCE_S; an empty list where a comment is due."""
        while not self._is_closed:
            try:
                await asyncio.wait_for(self._wake.wait(), COMMENT_INTERVAL_S)
            except TimeoutError:
                yield []
                continue
            self._wake.clear()
            if self._is_closed:
                return
            told = list(self._pending.values())
            self._pending.clear()
            yield told
            await asyncio.sleep(COALESCE_S)


class Hub:
    """Knows the open viewers. `announce` may be called from any thread, the rest from the loop's."""

    def __init__(self, patience_s: float = PATIENCE_S) -> None:
        self.patience_s = patience_s
        self.dropped = 0
        """Viewers that were let go since they had stopped reading."""
        self._viewers: set[Viewer] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the loop that viewers are served on."""
        self._loop = loop

    def announce(self, changes: list[Change]) -> None:
        """Carry committed changes to the viewers; never waits."""
        loop = self._loop
        if loop is None or loop.is_closed() or not self._viewers:
            return
        try:
            loop.call_soon_threadsafe(self._tell, changes)
        except RuntimeError:
            # The loop closed between the check and the call: the service is stopping, and
            # its viewers ask for everything when they reconnect.
            return

    def join(self, runs: Iterable[str]) -> Viewer:
        """Add a viewer of these runs, or of all where none is named."""
        viewer = Viewer(frozenset(runs))
        if self._is_closed:
            viewer.close()
        self._viewers.add(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """Forget a viewer."""
        self._viewers.discard(viewer)

    @property
    def viewers(self) -> int:
        """How many streams are open."""
        return len(self._viewers)

    @property
    def is_full(self) -> bool:
        """Whether no further viewer is taken."""
        return len(self._viewers) >= MAX_VIEWERS

    def close(self) -> None:
        """End every stream: the server waits for open ones before it stops."""
        self._is_closed = True
        for viewer in self._viewers:
            viewer.close()

    def _tell(self, changes: list[Change]) -> None:
        for viewer in self._viewers:
            for change in changes:
                viewer.tell(change)
