"""uvicorn's side of a connection, whose heads are bounded and whose transport a route gets to know."""

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lossboard_server.api.events import TRANSPORT

MAX_HEAD_BYTES: Final = 64 * 1024  # a request's first line and headers: httptools itself takes any number


class Connection(HttpToolsProtocol):
    """A connection whose requests carry its transport in their state: only by it a stuck one can be cut."""

    _is_in_head = True
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the transport, beside what the application keeps for each request."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, TRANSPORT: transport}

    def data_received(self, data: bytes) -> None:
        """Read on, but not for ever in one head."""
        self._head_bytes += len(data) if self._is_in_head else 0
        super().data_received(data)
        if self._is_in_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response(f"A request's headers may have {MAX_HEAD_BYTES:,} bytes.")

    def on_headers_complete(self) -> None:
        """Note that what comes is a body."""
        self._is_in_head, self._head_bytes = False, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that what comes is the next head."""
        self._is_in_head = True
        super().on_message_complete()
