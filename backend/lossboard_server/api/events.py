"""The event stream: what changed, as Server-Sent Events."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic_core import to_json
from starlette.responses import Response, StreamingResponse

from lossboard import wire
from lossboard_server.errors import Busy
from lossboard_server.live.hub import Hub, RunChange, Viewer

router = APIRouter(prefix=wire.API_PREFIX, tags=["live"])

MAX_RUNS = 50


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
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


async def _write_events(hub: Hub, viewer: Viewer, *, has_missed: bool) -> AsyncIterator[bytes]:
    try:
        # At once, so that a browser calls the stream open before the first change.
        yield b"retry: 1000\n\n"
        if has_missed:
            yield b"event: reset\ndata: {}\n\n"
        async for changes in viewer.changes():
            if not changes:
                yield b": still here\n\n"
            for change in changes:
                yield _write_event(change)
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
