"""Whether the service lives, whether it is ready, and whether it is really ours."""

import logging
import re
from typing import Final

from fastapi import APIRouter, Request

from lossboard.wire import prove
from lossboard_server import __version__
from lossboard_server.api.keys import Keys
from lossboard_server.errors import FieldError, InvalidInput, Unavailable

router = APIRouter(tags=["health"])

_log = logging.getLogger("lossboard_server")
_NONCE: Final = re.compile(r"[0-9a-f]{1,64}")


@router.get("/healthz")
async def answer_health(request: Request, nonce: str | None = None) -> dict[str, str]:
    """Say that the service lives; with a nonce, prove that it holds the token without telling it."""
    answer = {"status": "ok", "name": "lossboard", "version": __version__}
    if nonce is None:
        return answer
    if not _NONCE.fullmatch(nonce):
        wrong = FieldError("nonce", "must be 1 to 64 of the characters 0–9 a–f")
        raise InvalidInput(f"{wrong.field} {wrong.message}.", [wrong])
    keys: Keys = request.app.state.keys
    if keys.token is not None:
        answer["proof"] = prove(keys.token, nonce)
    return answer


@router.get("/readyz")
def answer_readiness(request: Request) -> dict[str, str]:
    """Say whether the database answers; 503 where it doesn't. `storage` tells of a full disk or of damage."""
    try:
        request.app.state.store.ping()
    except Exception as error:
        # One line and no traceback: a balancer asks every second.
        _log.warning("the database does not answer: %s", str(getattr(error, "orig", error)).strip())
        detail = "The database does not answer; the service's log has the cause."
        raise Unavailable(detail, headers={"Retry-After": "1"}) from error
    storage = request.app.state.store.condition.storage
    # Ready all the same: what is stored can be read, and no other service has this file.
    return {"status": "ready"} if storage == "ok" else {"status": "ready", "storage": storage}
