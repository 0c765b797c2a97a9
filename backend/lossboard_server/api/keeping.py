"""Routes of what is kept: a run's name, notes, tags and colour; archiving, restoring and deleting it."""

import asyncio
import re
from dataclasses import asdict
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request
from pydantic import AfterValidator, BaseModel, Field
from starlette.responses import Response

from lossboard import wire
from lossboard_server.api.answers import answer_json, answer_written
from lossboard_server.api.bodies import read_json
from lossboard_server.api.forms import STRICT, read_form
from lossboard_server.api.readers import Readers
from lossboard_server.api.views.runs import tell_run
from lossboard_server.domain.retention import KEEP_TAG, Removal
from lossboard_server.store.keeping.deleting import delete_run, list_going
from lossboard_server.store.keeping.editing import edit_run
from lossboard_server.store.keeping.keeper import Keeper
from lossboard_server.store.keeping.sizes import measure_room
from lossboard_server.store.store import Store

router = APIRouter(prefix=wire.API_PREFIX, tags=["runs"])

MAX_NOTES: Final = 20_000  # characters: some pages
MAX_PLANNED: Final = 20  # removals told at once
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_CONTROL_IN_TEXT: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_COLOUR: Final = re.compile(r"#[0-9a-fA-F]{6}")


def _check_line(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("must be one line without control characters")
    if not text.strip():
        raise ValueError("must not be blank")
    return text


def _check_notes(text: str) -> str:
    text = text.replace("\r\n", "\n")
    if _CONTROL_IN_TEXT.search(text):
        raise ValueError("must be text without control characters, but for tabs and line ends")
    return text


def _check_colour(text: str) -> str:
    if not _COLOUR.fullmatch(text):
        raise ValueError("must be #rrggbb, or null for the palette's")
    return text.lower()


_Line = AfterValidator(_check_line)
Notes = Annotated[str, Field(max_length=MAX_NOTES), AfterValidator(_check_notes)]
Colour = Annotated[str, AfterValidator(_check_colour)]


class EditBody(BaseModel):
    """The body of `PATCH /runs/{run}`; a key that is left away changes nothing."""

    model_config = STRICT
    name: Annotated[str, Field(min_length=1, max_length=200), _Line] = ""
    notes: Notes = ""
    tags: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=100), _Line]], Field(max_length=100)
    ] = []
    colour: Colour | None = None
    archived: bool = False


@router.patch(
    "/runs/{run}",
    openapi_extra={
        "requestBody": {"content": {"application/json": {"schema": EditBody.model_json_schema()}}}
    },
)
async def patch_run(request: Request, run: str) -> Response:
    """Rename a run, write notes, set tags and colour, archive it; what a person set, its client leaves."""
    wire.check_run_id(run)
    edit = read_form(EditBody, await read_json(request)).model_dump(exclude_unset=True)
    return await _edit(request, run, edit)


@router.post("/runs/{run}/restore")
async def restore_run(request: Request, run: str) -> Response:
    """Take a run back out of the archive; a deleted one can't come back."""
    wire.check_run_id(run)
    return await _edit(request, run, {"archived": False})


@router.delete("/runs/{run}", status_code=202)
async def remove_run(request: Request, run: str) -> Response:
    """Delete an archived run for good: it is gone at once, its rows in the background (`GET /keeping`)."""
    wire.check_run_id(run)
    store: Store = request.app.state.store
    future = store.write(lambda connection: delete_run(connection, run, store.clock()), run)
    going = await asyncio.wrap_future(future)
    keeper: Keeper = request.app.state.keeper
    keeper.wake()
    return answer_json(
        {"run": run, "name": going.name, "deleting": {"records": going.records, "bytes": going.bytes}}, 202
    )


@router.get("/keeping")
def get_keeping(request: Request) -> Response:
    """Tell what is stored, which deleted runs' rows are still going, and what retention takes next."""
    store: Store = request.app.state.store
    keeper: Keeper = request.app.state.keeper
    with store.reading() as connection:
        room = measure_room(connection)
        going = list_going(connection)
        planned = keeper.plan(connection)
    rule = keeper.rule
    return answer_json(
        {
            "stored": room._asdict(),
            "deleting": [asdict(each) for each in going],
            "retention": {
                "keep_days": rule.days,
                "keep_gb": None if rule.bytes is None else rule.bytes / 1e9,
                "keep_tag": KEEP_TAG,
                "removed": dict(keeper.removed),
                "next": [_describe(removal) for removal in planned[:MAX_PLANNED]],
                "planned": len(planned),
            },
        }
    )


async def _edit(request: Request, run: str, told: dict[str, Any]) -> Response:
    store: Store = request.app.state.store
    future = store.write(lambda connection: edit_run(connection, run, told, store.clock()), run)
    await asyncio.wrap_future(future)
    readers: Readers = request.app.state.readers
    return answer_written(await readers.ask(tell_run, run, store.clock()))


def _describe(removal: Removal) -> dict[str, Any]:
    kept = removal.kept
    return {
        "run": kept.run,
        "name": kept.name,
        "records": kept.records,
        "bytes": kept.bytes,
        "reason": removal.reason,
        "due_unix_s": removal.due_unix_s,
    }
