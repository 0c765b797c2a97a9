"""The route by which a whole run comes back: it says what the run is; the records come by their own route."""

import asyncio
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, model_validator
from sqlalchemy import Connection
from starlette.responses import Response

from lossboard import wire
from lossboard_server.api.answers import answer_json
from lossboard_server.api.bodies import read_json
from lossboard_server.api.forms import STRICT, read_form
from lossboard_server.api.keeping import Colour, Notes
from lossboard_server.api.runs import SeriesBody, Tags, check_size, read_meaning
from lossboard_server.domain.changes import Change
from lossboard_server.store.keeping.importing import Import, Stand, begin_import, finish_import
from lossboard_server.store.store import Store

router = APIRouter(prefix=wire.API_PREFIX, tags=["runs"])

_Time = Annotated[float, Field(ge=0, le=wire.MAX_TIME_UNIX_S, allow_inf_nan=False)]
# What the service computed of a sender's clock, which may have shown anything.
_Moment = Annotated[float, Field(allow_inf_nan=False)]
_Seconds = Annotated[float, Field(allow_inf_nan=False)]
_Small = Annotated[int, Field(ge=0, le=wire.MAX_SMALL)]
_Large = Annotated[int, Field(ge=0, le=wire.MAX_POSITION)]
_Id = Annotated[str, Field(pattern=f"^{wire.RUN_ID.pattern}$")]
_Line = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]

MAX_ATTEMPTS: Final = 100_000


class _Attempt(BaseModel):
    model_config = STRICT
    started_unix_s: _Time
    start_epoch: _Small | None
    start_batch: _Large
    world_size: Annotated[int, Field(ge=1, le=wire.MAX_SMALL)]
    is_declared: bool


class _Writer(BaseModel):
    model_config = STRICT
    writer: _Id
    attempt: _Time
    rank: _Small
    next: _Large
    gaps: _Large
    state: Literal["running", "finished", "failed", "killed", "silent"]
    last_seen_unix_s: _Moment
    dropped: dict[str, _Large]


class About(BaseModel):
    """What is known of a run beside its records, as an export says it: `store.exporting`."""

    model_config = STRICT
    run: _Id
    project: _Line
    name: _Line
    config: dict[str, Any]
    environment: dict[str, Any]
    tags: Tags
    notes: Notes
    colour: Colour | None
    edited: list[Literal["name", "notes", "tags", "colour"]]
    state: Literal["running", "finished", "failed", "killed"]
    created_unix_s: _Time
    archived_unix_s: _Time | None
    attempt_unix_s: _Time | None
    attempt_seen_unix_s: _Moment
    last_seen_unix_s: _Moment
    last_record_unix_s: _Moment | None
    usual_interval_s: _Seconds | None
    usual_over_s: _Seconds
    pause_s: _Seconds
    stalled_after_s: _Seconds | None
    lost_after_s: _Seconds
    series: Annotated[dict[str, SeriesBody], Field(max_length=wire.MAX_SERIES)]
    attempts: Annotated[list[_Attempt], Field(max_length=MAX_ATTEMPTS)]
    writers: Annotated[list[_Writer], Field(max_length=MAX_ATTEMPTS)]
    records: _Large

    @model_validator(mode="after")
    def _hold_together(self) -> "About":
        starts = [attempt.started_unix_s for attempt in self.attempts]
        if len(set(starts)) < len(starts):
            raise ValueError("two attempts start at the same time")
        if strange := {writer.attempt for writer in self.writers} - set(starts):
            raise ValueError(f"a writer names the attempt {min(strange)}, which is none of the run's")
        if len({writer.writer for writer in self.writers}) < len(self.writers):
            raise ValueError("a writer comes twice")
        return self


class ImportBody(BaseModel):
    """The body of `POST /runs/{run}/import`: without `done` it begins or goes on, with it it ends."""

    model_config = STRICT
    writer: Annotated[str, Field(pattern="^import-[0-9a-f]{16,57}$")]
    records: _Large
    attempt: _Time = 0.0
    rank: _Small = 0
    about: About | None = None
    done: bool = False


@router.post(
    "/runs/{run}/import",
    openapi_extra={
        "requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}},
    },
)
async def import_run(request: Request, run: str) -> Response:
    """Begin, go on with or end the import of a whole run; between come its rows, by writer and seq.

    Cost: one transaction. The same request again changes nothing and tells how far the import is.
    """
    wire.check_run_id(run)
    told, is_done = _read_import(await read_json(request))
    store: Store = request.app.state.store

    def work(connection: Connection) -> tuple[Stand, list[Change]]:
        if is_done:
            return finish_import(connection, run, told)
        return begin_import(connection, run, told, store.clock())

    stand = await asyncio.wrap_future(store.write(work, run))
    return answer_json({"run": run, "next": stand.next, "is_finished": stand.is_finished})


def _read_import(body: dict[str, Any]) -> tuple[Import, bool]:
    form = read_form(ImportBody, body)
    about = None
    if form.about is not None:
        about = form.about.model_dump()
        for name in ("config", "environment"):
            check_size(name, about[name])
        for name, series in form.about.series.items():
            meaning = read_meaning(name, series)
            about["series"][name] = {
                "reduction": meaning.reduction or "mean",
                "weight_unit": meaning.weight_unit or "items",
                "weight_source": meaning.weight_source or "unknown",
                "traits": meaning.traits,
            }
    return Import(form.writer, form.records, form.attempt, form.rank, about), form.done
