"""A viewer that stops reading its event stream: let go after a while, counted, and nobody waits for it."""

import asyncio
import json
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI

from lossboard_server.app import create_app
from lossboard_server.connections import Connection
from lossboard_server.domain.changes import Change
from lossboard_server.ports import direct, take_port
from lossboard_server.settings import Settings
from processes import poll

pytestmark = pytest.mark.live

PATIENCE_S = 0.5
CHANGES = 20_000
MOST_BUFFERED_BYTES = 256 * 1024  # of the 3 MB that these changes make
RUNS = 500  # that each change: a stream of them fills the buffers of a real connection


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[FastAPI, int]]:
    """The application behind a real socket, on a thread of this process so that its patience can be short."""
    settings = Settings.resolve({"dir": str(tmp_path), "no_token": "true", "readers": "0", "port": "0"}, {})
    listener = take_port("127.0.0.1", 0)
    port = listener.getsockname()[1]
    app = create_app(settings)
    app.state.hub.patience_s = PATIENCE_S
    config = uvicorn.Config(app, http=Connection, lifespan="on", log_config=None, log_level="error")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    thread.start()
    poll(lambda: server.started, "the server")
    yield app, port
    app.state.hub.close()
    server.should_exit = True
    thread.join(20)
    listener.close()


def follow(port: int, buffer_bytes: int | None = None) -> socket.socket:
    """Open an event stream, and read no more than its beginning."""
    viewer = socket.socket()
    viewer.settimeout(10)
    if buffer_bytes is not None:
        viewer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    viewer.connect(("127.0.0.1", port))
    viewer.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert viewer.recv(12) == b"HTTP/1.1 200"
    return viewer


def test_viewer_that_never_reads_is_dropped_and_delays_nobody(served: tuple[FastAPI, int]) -> None:
    app, port = served
    hub = app.state.hub
    heard: set[str] = set()
    with follow(port, 4096) as stuck, follow(port) as reading:
        reader = threading.Thread(target=read_runs, args=(reading, heard))
        reader.start()
        poll(lambda: hub.viewers == 2, "both viewers")
        took_s = []
        for version in range(CHANGES // RUNS):
            begun = time.monotonic()
            hub.announce([Change(f"run-{number:060}", {"train/loss"}, version) for number in range(RUNS)])
            took_s.append(time.monotonic() - begun)
            time.sleep(0.02)  # so that the streams are not all one
        poll(lambda: hub.dropped == 1, "the stuck viewer to be let go")
        poll(lambda: hub.viewers == 1, "its place to be free")
        hub.announce([Change("last", {"train/loss"}, 1)])
        poll(lambda: "last" in heard, "the other viewer to hear on")
        assert statistics.median(took_s) < 0.05  # the writer's thread announces, and never waits
        assert read_rest(stuck) < MOST_BUFFERED_BYTES
        hub.close()
        reader.join(10)
    assert len(heard) == RUNS + 1


def test_dropped_viewers_are_counted_in_the_metrics(served: tuple[FastAPI, int]) -> None:
    app, port = served
    app.state.hub.dropped = 3
    with direct.open(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    assert "lossboard_viewers_dropped_total 3" in lines
    assert "lossboard_viewers 0" in lines


def read_rest(viewer: socket.socket) -> int:
    """Read until the other side has ended it; return how many bytes were on their way."""
    size = 0
    try:
        while content := viewer.recv(1 << 16):
            size += len(content)
    except ConnectionResetError:
        pass  # ended as well
    return size


def read_runs(viewer: socket.socket, heard: set[str]) -> None:
    """Note each run that a stream tells of, until it ends."""
    with viewer.makefile("rb") as lines:
        for line in lines:
            if line.startswith(b"data: {"):
                heard.add(json.loads(line[6:]).get("run", ""))
