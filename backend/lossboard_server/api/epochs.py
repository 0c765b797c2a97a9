"""The route of every view of every epoch of a series."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from lossboard import wire
from lossboard_server.api.answers import answer_written
from lossboard_server.api.readers import Readers
from lossboard_server.api.views.epochs import show_epochs

router = APIRouter(prefix=wire.API_PREFIX, tags=["views"])


@router.get("/runs/{run}/epochs")
async def get_epochs(
    request: Request,
    run: str,
    series: Annotated[str | None, Query(max_length=wire.MAX_SERIES_NAME)] = None,
    hidden: Literal["no", "show"] = "no",
) -> Response:
    """Show every view of every epoch; of validation, an epoch's last pass.

    What takes an epoch's records one by one (`std_error_detrended`, and `step_objective` where
    steps are uneven) is told of the newest epochs, up to 100,000 records. `hidden=show` adds
    under `hidden` the epochs of each attempt that later ones hide, whole, as they were seen then.
    """
    wire.check_run_id(run)
    readers: Readers = request.app.state.readers
    return answer_written(await readers.ask(show_epochs, run, series, hidden == "show"))
