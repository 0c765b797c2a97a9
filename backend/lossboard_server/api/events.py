"""The event stream: what changed, as Server-Sent Events, to viewers that read them."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from pydantic_core import to_json
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Send

from lossboard import wire
from lossboard_server.errors import Busy
from lossboard_server.live.hub import Hub, RunChange, Viewer

router = APIRouter(prefix=wire.API_PREFIX, tags=["live"])

MAX_RUNS = 50

TRANSPORT: Final = "transport"
"""Where in a request's state connections.py puts its transport; where nobody does, no viewer is let go."""

# Of a viewer that reads nothing this much is kept: an event has some 100 bytes. The kernel would keep MBs.
SEND_BUFFER_BYTES: Final = 32 * 1024
WRITE_BUFFER_BYTES: Final = 16 * 1024

_log = logging.getLogger("lossboard_server")


@router.get("/events")
async def get_events(
    request: Request, run: Annotated[list[str] | None, Query(max_length=MAX_RUNS)] = None
) -> Response:
    """Follow runs, or all of them; a stream that resumes begins with `reset`: ask for everything again."""
    for run_id in run or ():
        wire.check_run_id(run_id)
    hub: Hub = request.app.state.hub
    if hub.is_full:
        raise Busy("Too many pages are open on this service.", headers={"Retry-After": "15"})
    viewer = hub.join(run or ())
    stream = _write_events(hub, viewer, has_missed="last-event-id" in request.headers)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    transport = request.scope.get("state", {}).get(TRANSPORT)
    return _EventStream(hub, transport, stream, headers)


class _EventStream(StreamingResponse):
    """A stream whose connection is cut when its viewer has taken nothing for the hub's patience.

    Cut and not closed: closing would wait until the viewer has read what is buffered.
    """

    def __init__(
        self,
        hub: Hub,
        transport: asyncio.Transport | None,
        stream: AsyncIterator[bytes],
        headers: dict[str, str],
    ) -> None:
        super().__init__(stream, media_type="text/event-stream", headers=headers)
        self._hub = hub
        self._transport = transport

    async def stream_response(self, send: Send) -> None:
        """Send the events, each within the hub's patience."""
        transport = self._transport
        if transport is None:
            await super().stream_response(send)
            return
        transport.set_write_buffer_limits(WRITE_BUFFER_BYTES)
        connection: socket.socket | None = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)

        async def send_in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(self._hub.patience_s):
                    await send(message)
            except TimeoutError:
                self._hub.dropped += 1
                _log.warning("a viewer that read nothing for %g s was let go", self._hub.patience_s)
                transport.abort()  # the response ends by the disconnect that follows

        await super().stream_response(send_in_time)


async def _write_events(hub: Hub, viewer: Viewer, *, has_missed: bool) -> AsyncIterator[bytes]:
    try:
        # At once, so that a browser calls the stream open before the first change.
        yield b"retry: 1000\n\n"
        if has_missed:
            yield b"event: reset\ndata: {}\n\n"
        async for changes in viewer.changes():
            if not changes:
                yield b": still here\n\n"
            else:
                yield b"".join(map(_write_event, changes))
    finally:
        hub.leave(viewer)


def _write_event(change: RunChange) -> bytes:
    cursor = f"{change.run}.{change.version}"
    parts = []
    if change.is_about_run:
        parts.append(b"event: runs\ndata: %b\n\n" % to_json({"run": change.run}))
    if change.series:
        data = {"run": change.run, "series": sorted(change.series), "cursor": cursor}
        parts.append(b"event: change\nid: %b\ndata: %b\n\n" % (cursor.encode(), to_json(data)))
    return b"".join(parts)
