"""uvicorn's side of a connection, of which a route gets to know what ASGI does not tell: its transport."""

import asyncio
from typing import TYPE_CHECKING

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from lossboard_server.api.events import TRANSPORT

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol as _Protocol
else:
    _Protocol = AutoHTTPProtocol


class Connection(_Protocol):
    """A connection whose requests carry its transport in their state: only by it a stuck one can be cut."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the transport, beside what the application keeps for each request."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, TRANSPORT: transport}
