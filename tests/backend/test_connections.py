"""Connections on a real socket: a head without an end is refused, a long body is not."""

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

from lossboard_server.connections import MAX_HEAD_BYTES, Connection
from lossboard_server.ports import take_port
from processes import poll


@pytest.fixture
def port() -> Iterator[int]:
    """Serve a route that tells how long a body was."""

    async def measure(request: Request) -> Response:
        return PlainTextResponse(str(len(await request.body())))

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


def post(body_bytes: int, *, close: bool = True, more: bytes = b"") -> bytes:
    ending = b"Connection: close\r\n" if close else b""
    length = b"Content-Length: %d\r\n" % body_bytes
    return b"POST / HTTP/1.1\r\nHost: x\r\n" + ending + length + more + b"\r\n" + b"x" * body_bytes


def test_headers_up_to_the_bound_are_read(port: int) -> None:
    most = b"X-Long: " + b"y" * (MAX_HEAD_BYTES - 200) + b"\r\n"

    assert ask(port, post(3, more=most)).endswith(b"\r\n\r\n3")


@pytest.mark.parametrize(
    "endless",
    [b"X-One: " + b"y" * MAX_HEAD_BYTES, b"X: y\r\n" * (MAX_HEAD_BYTES // 6 + 1)],
    ids=["one header", "many"],
)
def test_head_without_an_end_is_refused(port: int, endless: bytes) -> None:
    told = ask(port, b"POST / HTTP/1.1\r\nHost: x\r\n", endless, b"y" * MAX_HEAD_BYTES)

    assert told.startswith(b"HTTP/1.1 400 ")
    assert b"65,536 bytes" in told


def test_endless_address_is_refused(port: int) -> None:
    assert ask(port, b"GET /", b"a" * 2 * MAX_HEAD_BYTES).startswith(b"HTTP/1.1 400 ")


def test_body_is_not_counted_and_each_head_anew(port: int) -> None:
    padding = b"X-Long: " + b"y" * (MAX_HEAD_BYTES // 2) + b"\r\n"
    kept = [post(4 * MAX_HEAD_BYTES, close=False, more=padding) for _ in range(3)]

    told = ask(port, *kept, post(1))

    assert told.count(b"HTTP/1.1 200 ") == 4
    assert told.endswith(b"\r\n\r\n1")


def test_what_is_no_http_is_refused(port: int) -> None:
    assert ask(port, b"\x16\x03\x01 hello\r\n\r\n").startswith(b"HTTP/1.1 400 ")
