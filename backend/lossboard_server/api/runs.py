"""Routes of runs: make or take up, list, show."""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from pydantic_core import to_json
from starlette.responses import Response

from lossboard import wire
from lossboard_server.api.answers import answer_json, answer_written
from lossboard_server.api.bodies import read_json
from lossboard_server.api.forms import STRICT, read_form
from lossboard_server.api.readers import Readers
from lossboard_server.api.views.runs import tell_run, tell_runs
from lossboard_server.domain.run_state import RUN_STATES
from lossboard_server.errors import FieldError, InvalidInput
from lossboard_server.store.listing import ORDERS, RunFilter
from lossboard_server.store.store import Store
from lossboard_server.store.writing.deliveries import AttemptStart, RunSpec, SeriesMeaning

router = APIRouter(prefix=wire.API_PREFIX, tags=["runs"])

Tags = Annotated[list[Annotated[str, Field(min_length=1, max_length=100)]], Field(max_length=100)]
# PostgreSQL's text holds every character but this one.
_Words = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]

MAX_OBJECT_BYTES = 256 * 1024  # of a config or an environment, as JSON


class SeriesBody(BaseModel):
    """What a series' numbers are; every key may be left away."""

    model_config = STRICT
    reduction: str | None = None
    weight_unit: str | None = None
    weight_source: str | None = None
    traits: dict[str, Any] | None = None


class _Attempt(BaseModel):
    model_config = STRICT
    started_unix_s: float = Field(ge=0, le=wire.MAX_TIME_UNIX_S, allow_inf_nan=False)
    start_epoch: int | None = Field(None, ge=0, le=wire.MAX_SMALL)
    start_batch: int = Field(0, ge=0, le=wire.MAX_POSITION)
    resumed: bool = False
    rank: int = Field(0, ge=0, le=wire.MAX_SMALL)
    world_size: int = Field(1, ge=1, le=wire.MAX_SMALL)


class RunBody(BaseModel):
    """The body of `PUT /runs/{run}`; every key may be left away."""

    model_config = STRICT
    project: _Words | None = None
    name: _Words | None = None
    config: dict[str, Any] | None = None
    tags: Tags | None = None
    environment: dict[str, Any] | None = None
    series: dict[str, SeriesBody] | None = None
    attempt: _Attempt | None = None


@router.put(
    "/runs/{run}",
    openapi_extra={"requestBody": {"content": {"application/json": {"schema": RunBody.model_json_schema()}}}},
)
async def put_run(request: Request, run: str) -> Response:
    """Make a run, or take it up again; the same request twice changes nothing."""
    _check_run(run)
    spec = _read_spec(await read_json(request))
    store: Store = request.app.state.store
    registered = await asyncio.wrap_future(store.put_run(run, spec))
    answer = {
        "run": registered.run,
        "name": registered.name,
        "project": registered.project,
        "url": f"/?run={registered.run}",
        "attempt": registered.attempt,
        "created": registered.created,
    }
    return answer_json(answer, 201 if registered.created else 200)


@router.get("/runs")
async def get_runs(
    request: Request,
    state: Annotated[str | None, Query(pattern=f"^({'|'.join(RUN_STATES)})$")] = None,
    project: Annotated[str | None, Query(max_length=200)] = None,
    search: Annotated[str | None, Query(max_length=200)] = None,
    archived: Annotated[Literal["with", "only"] | None, Query()] = None,
    order: Annotated[str, Query(pattern=f"^({'|'.join(ORDERS)})$")] = "newest",
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    offset: Annotated[int, Query(ge=0, le=wire.MAX_SMALL)] = 0,
) -> Response:
    """List runs: those that hold every word of `search`; the archived ones only when they are asked for."""
    store: Store = request.app.state.store
    readers: Readers = request.app.state.readers
    wanted = RunFilter(state, project, search, archived, order, limit, offset)
    return answer_written(await readers.ask(tell_runs, wanted, store.clock()))


@router.get("/runs/{run}")
async def get_run(request: Request, run: str) -> Response:
    """Show one run with its attempts, writers, series and counts."""
    _check_run(run)
    store: Store = request.app.state.store
    readers: Readers = request.app.state.readers
    return answer_written(await readers.ask(tell_run, run, store.clock()))


def _check_run(run: str) -> None:
    wire.check_run_id(run)


def _read_spec(body: dict[str, Any]) -> RunSpec:
    read = read_form(RunBody, body)
    for name, value in (("config", read.config), ("environment", read.environment)):
        check_size(name, value)
    return RunSpec(
        project=read.project,
        name=read.name,
        config=read.config,
        tags=read.tags,
        environment=read.environment,
        series={name: read_meaning(name, series) for name, series in (read.series or {}).items()},
        attempt=None if read.attempt is None else _read_attempt(read.attempt),
    )


def _read_attempt(attempt: _Attempt) -> AttemptStart:
    # A rank is its writer's, and a start position says by itself that a run was resumed.
    return AttemptStart(**attempt.model_dump(exclude={"rank", "resumed"}))


def read_meaning(name: str, series: SeriesBody) -> SeriesMeaning:
    """Return what is declared of a series, checked as the wire says.

    Raises: InvalidInput.
    """
    try:
        wire.check_series_name(name)
        for key, choices in (
            ("reduction", wire.REDUCTIONS),
            ("weight_unit", wire.WEIGHT_UNITS),
            ("weight_source", wire.WEIGHT_SOURCES),
        ):
            value = getattr(series, key)
            if value is not None:
                wire.check_choice(key, value, choices)
        traits = wire.check_traits(series.traits or {})
    except wire.RecordError as error:
        field = f"series.{name[: wire.MAX_SERIES_NAME]}.{error.field}"
        message = f"{field} {error.message}. Nothing was stored."
        raise InvalidInput(message, [FieldError(field, error.message)]) from None
    return SeriesMeaning(series.reduction, series.weight_unit, series.weight_source, traits)


def check_size(name: str, value: dict[str, Any] | None) -> None:
    """Refuse a config or an environment of more than MAX_OBJECT_BYTES.

    Raises: InvalidInput.
    """
    if value is None:
        return
    size = len(to_json(value))
    if size > MAX_OBJECT_BYTES:
        message = f"has {size:,} bytes as JSON; at most {MAX_OBJECT_BYTES:,} are kept"
        raise InvalidInput(f"{name} {message}. Nothing was stored.", [FieldError(name, message)])
