"""Connections on a real socket: what has no end is refused, what comes behind a body is no header."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, Router

from lossboard_server.connections import Connection
from lossboard_server.ports import take_port
from processes import poll

ENDLESS_BYTES = 200_000


@pytest.fixture
def port() -> Iterator[int]:
    """Serve a route that tells how long a body was."""

    async def measure(request: Request) -> Response:
        length = len(await request.body())
        return PlainTextResponse(str(length), headers={"X-Told": request.headers.get("x-trailer", "")})

    app = Router([Route("/", measure, methods=["POST"])])
    listener = take_port("127.0.0.1", 0)
    config = uvicorn.Config(app, http=Connection, lifespan="off", log_config=None, log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    poll(lambda: server.started, "the server")
    yield listener.getsockname()[1]
    server.should_exit = True
    thread.join(20)
    listener.close()


def ask(port: int, *parts: bytes) -> bytes:
    """Send a request in parts and return all that is answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for part in parts:
                line.sendall(part)
        told = b""
        with contextlib.suppress(ConnectionResetError):
            while part := line.recv(65536):
                told += part
    return told


def post(body_bytes: int, *, close: bool = True) -> bytes:
    ending = b"Connection: close\r\n" if close else b""
    length = b"Content-Length: %d\r\n" % body_bytes
    return b"POST / HTTP/1.1\r\nHost: x\r\n" + ending + length + b"\r\n" + b"x" * body_bytes


def test_long_body_is_read_and_so_is_what_comes_behind_it(port: int) -> None:
    kept = [post(1_000_000, close=False) for _ in range(3)]

    told = ask(port, *kept, post(1))

    assert told.count(b"HTTP/1.1 200 ") == 4
    assert told.endswith(b"\r\n\r\n1")


@pytest.mark.parametrize(
    "endless",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nX-One: " + b"y" * ENDLESS_BYTES,
        b"POST / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * (ENDLESS_BYTES // 6),
        b"GET /" + b"a" * ENDLESS_BYTES,
        post(0, close=False).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        + b"0\r\n"
        + b"a: b\r\n" * (ENDLESS_BYTES // 6),
        b"\x16\x03\x01 hello\r\n\r\n",
    ],
    ids=["header", "headers", "address", "trailers", "no http"],
)
def test_what_has_no_end_or_is_no_http_is_refused(port: int, endless: bytes) -> None:
    assert ask(port, endless).startswith(b"HTTP/1.1 400 ")


def test_trailer_is_no_header(port: int) -> None:
    chunked = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"

    told = ask(port, chunked + b"1\r\nz\r\n0\r\nX-Trailer: smuggled\r\n\r\n")

    assert told.endswith(b"\r\n\r\n1")
    assert b"smuggled" not in told
