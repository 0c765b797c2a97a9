"""The route that records come in by; an answer means that they are committed."""

import asyncio

from fastapi import APIRouter, Request
from starlette.responses import Response

from lossboard import wire
from lossboard_server.api.answers import answer_json
from lossboard_server.api.bodies import read_delivery, read_json
from lossboard_server.api.intake import Intake
from lossboard_server.store.store import Store

router = APIRouter(prefix=wire.API_PREFIX, tags=["records"])

_ROW = {"epoch": 0, "batch": 0, "loss": 4.5, "batch_size": 2}


@router.post(
    "/runs/{run}/records",
    openapi_extra={
        "requestBody": {
            "description": "Rows as below, or columns by series with writer and seq; see the README.",
            "content": {"application/json": {"schema": {"type": "object"}, "example": {"records": [_ROW]}}},
        }
    },
)
async def post_records(request: Request, run: str) -> Response:
    """Store records, rows or columns: all of them or, with an error, none."""
    wire.check_run_id(run)
    store: Store = request.app.state.store
    intake: Intake = request.app.state.intake
    with intake.hold() as held:
        delivery = read_delivery(await read_json(request, held))
        receipt = await asyncio.wrap_future(store.put_records(run, delivery))
    answer = {"stored": receipt.stored, "duplicates": receipt.duplicates, "next": receipt.next}
    return answer_json(answer)
