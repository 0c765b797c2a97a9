"""A run's records as a file: CSV and JSON Lines stream every record, HTML is a page that stands alone."""

from collections.abc import Callable, Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from sqlalchemy import Connection
from starlette.responses import Response, StreamingResponse

from lossboard import wire
from lossboard_server.api.drawing import Request as Wanted
from lossboard_server.api.drawing import RunDrawing
from lossboard_server.api.standalone import write_page
from lossboard_server.store.exporting import export_csv, export_jsonl
from lossboard_server.store.register import find_run
from lossboard_server.store.store import Store

router = APIRouter(prefix=wire.API_PREFIX, tags=["runs"])

HTML_POINTS = 4_000  # per curve; the file is to be mailed
WRITERS: dict[str, tuple[Callable[[Connection, int], Iterator[bytes]], str]] = {
    "csv": (export_csv, "text/csv; charset=utf-8"),
    "jsonl": (export_jsonl, "application/jsonl"),
}


@router.get("/runs/{run}/export")
def get_export(
    request: Request, run: str, file_format: Annotated[Literal["csv", "jsonl", "html"], Query(alias="format")]
) -> Response:
    """Send a run as a file; nothing is sampled in csv and jsonl."""
    wire.check_run_id(run)
    store: Store = request.app.state.store
    headers = {"Content-Disposition": f'attachment; filename="{run}.{file_format}"'}
    with store.reading() as connection:
        key = find_run(connection, run).key
    if file_format == "html":
        return Response(_draw_page(store, run), media_type="text/html; charset=utf-8", headers=headers)
    write, media_type = WRITERS[file_format]

    def stream() -> Iterator[bytes]:
        with store.reading() as connection:
            yield from write(connection, key)

    return StreamingResponse(stream(), media_type=media_type, headers=headers)


def _draw_page(store: Store, run_id: str) -> str:
    with store.reading() as connection:
        run = find_run(connection, run_id)
        epochs = list(RunDrawing(connection, run, Wanted("epoch")).curves())
        records = list(RunDrawing(connection, run, Wanted("batch", points=HTML_POINTS)).curves())
    return write_page(run.name, epochs, records)
