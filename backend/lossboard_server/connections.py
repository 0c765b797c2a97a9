"""uvicorn's side of a connection, of which a route gets to know what ASGI does not tell: its transport."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

from lossboard_server.api.events import TRANSPORT


class Connection(H11Protocol):
    """A connection whose requests carry its transport in their state: only by it a stuck one can be cut.

    h11 by name: with httptools, which uvicorn prefers where it is installed, a head and the trailers of a
    body have no bound, trailers are read as headers, and a stream with a request behind it never ends.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the transport, beside what the application keeps for each request."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, TRANSPORT: transport}
