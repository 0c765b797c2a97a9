"""The route that explains one epoch."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from lossboard import wire
from lossboard_server.api.answers import answer_written
from lossboard_server.api.readers import Readers
from lossboard_server.api.views.explained import UNDECLARED, explain
from lossboard_server.domain.blocks import UNDECLARED_EPOCH
from lossboard_server.errors import FieldError, InvalidInput

router = APIRouter(prefix=wire.API_PREFIX, tags=["views"])

MAX_DIGITS = 10  # of an epoch, which is below 2^31


@router.get("/runs/{run}/epochs/{epoch}/explain")
async def get_explanation(
    request: Request,
    run: str,
    epoch: str,
    series: Annotated[str | None, Query(max_length=wire.MAX_SERIES_NAME)] = None,
    pass_no: Annotated[int | None, Query(ge=0, le=wire.MAX_SMALL)] = None,
) -> Response:
    """Explain an epoch: formulas with its numbers, artefacts, what other tools would have printed.

    `epoch` is its number, or `undeclared` where nothing told the run's epochs. Of validation it is
    the epoch's last pass, unless `pass_no` names another. Of an epoch of more than 100,000
    records, what takes them one by one is left out.
    """
    wire.check_run_id(run)
    number = _read_number(epoch)
    readers: Readers = request.app.state.readers
    return answer_written(await readers.ask(explain, run, series, number, pass_no))


def _read_number(epoch: str) -> int:
    if epoch == UNDECLARED:
        return UNDECLARED_EPOCH
    if not (epoch.isascii() and epoch.isdigit()) or len(epoch) > MAX_DIGITS:
        message = f"must be an epoch's number, or {UNDECLARED}"
        raise InvalidInput(f"epoch {message}.", [FieldError("epoch", message)])
    return int(epoch)
