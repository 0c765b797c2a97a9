"""A run as a file: CSV, JSON Lines and Parquet stream every record, HTML is a page that stands alone."""

from itertools import chain
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic_core import to_json
from starlette.responses import Response, StreamingResponse

from lossboard import wire
from lossboard_server.api.formats import FORMATS
from lossboard_server.api.standalone import write_page
from lossboard_server.api.views.drawing import Request as Wanted
from lossboard_server.api.views.drawing import RunDrawing
from lossboard_server.store.keeping.exporting import describe_whole, read_chunks
from lossboard_server.store.store import Store
from lossboard_server.store.writing.register import find_run

router = APIRouter(prefix=wire.API_PREFIX, tags=["runs"])

HTML_POINTS = 4_000  # per curve; the file is to be mailed


@router.get("/runs/{run}/export")
def get_export(
    request: Request,
    run: str,
    file_format: Annotated[Literal["csv", "jsonl", "parquet", "html"], Query(alias="format")],
    header: bool = False,
) -> Response:
    """Send a run as a file; nothing is sampled but in html.

    With `header=true` the first line is {"run": …}: what is known of the run beside its records.
    """
    wire.check_run_id(run)
    store: Store = request.app.state.store
    headers = {"Content-Disposition": f'attachment; filename="{run}.{file_format}"'}
    with store.reading() as connection:
        key = find_run(connection, run).key
        about = describe_whole(connection, key)
    if file_format == "html":
        return Response(_draw_page(store, run), media_type="text/html; charset=utf-8", headers=headers)
    write, media_type = FORMATS[file_format]
    parts = write(read_chunks(store.reading, key), about)
    if header:
        parts = chain([to_json({"run": about}) + b"\n"], parts)
    return StreamingResponse(parts, media_type=media_type, headers=headers)


def _draw_page(store: Store, run_id: str) -> str:
    with store.reading() as connection:
        run = find_run(connection, run_id)
        epochs = list(RunDrawing(connection, run, Wanted("epoch")).curves())
        records = list(RunDrawing(connection, run, Wanted("batch", points=HTML_POINTS)).curves())
    return write_page(run.name, epochs, records)
