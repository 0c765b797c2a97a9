"""An HTTP answer read against one time limit: a socket's own limit is one for each piece of it."""

import http.client
import io
import socket
from collections.abc import Callable
from typing import Any


class TimedResponse(http.client.HTTPResponse):
    """An answer whose every read has what is left of the request's time, and no more.

    Without it a service that sends a byte every few seconds would hold the sender for ever.
    """

    def __init__(
        self, sock: socket.socket, remaining_s: Callable[[], float], *args: Any, **named: Any
    ) -> None:
        super().__init__(_Opened(sock, remaining_s), *args, **named)  # type: ignore[arg-type]


class _Opened:
    """What HTTPResponse asks of a socket: one file to read from."""

    def __init__(self, sock: socket.socket, remaining_s: Callable[[], float]) -> None:
        self._sock = sock
        self._remaining_s = remaining_s

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Timed(self._sock, self._remaining_s))


class _Timed(io.RawIOBase):
    def __init__(self, sock: socket.socket, remaining_s: Callable[[], float]) -> None:
        self._sock = sock
        self._file = sock.makefile("rb", buffering=0)
        self._remaining_s = remaining_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._remaining_s())
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()
