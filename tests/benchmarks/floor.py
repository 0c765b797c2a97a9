"""What no store can beat: a bare FastAPI route that stores nothing, sqlite3 alone writing the same rows."""

import http.client
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

TABLE: Final = """
CREATE TABLE records (run INTEGER, series INTEGER, attempt INTEGER, epoch INTEGER, pass_no INTEGER,
    batch INTEGER, rank INTEGER, call INTEGER, loss REAL, batch_size INTEGER, weight REAL, time_unix_s REAL,
    PRIMARY KEY (run, series, attempt, epoch, pass_no, batch, rank, call)) WITHOUT ROWID"""
PRAGMAS: Final = ("journal_mode = WAL", "synchronous = FULL")  # as ours


@contextmanager
def running_floor() -> Iterator[int]:
    """Run the bare service in a process of its own; gives its port."""
    command = [sys.executable, __file__, "--serve"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.communicate()


def post_bodies(port: int, bodies: Sequence[bytes]) -> float:
    """Send the same bodies over one kept-alive connection; returns the seconds to the last answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"Content-Type": "application/json"}
    begin = time.perf_counter()
    for body in bodies:
        connection.request("POST", "/records", body, headers)
        connection.getresponse().read()
    seconds = time.perf_counter() - begin
    connection.close()
    return seconds


def write_rows(file: Path, bodies: Sequence[bytes]) -> tuple[float, int]:
    """Write the same rows, a body a commit; returns the seconds it took and the file's bytes."""
    groups = [list(_rows(json.loads(body))) for body in bodies]
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for pragma in PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        connection.execute(TABLE)
        insert = f"INSERT INTO records VALUES ({', '.join('?' * 12)})"
        begin = time.perf_counter()
        for rows in groups:
            connection.execute("BEGIN")
            connection.executemany(insert, rows)
            connection.execute("COMMIT")
        seconds = time.perf_counter() - begin
    return seconds, file.stat().st_size


def _rows(body: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for series in body["series"].values():
        names = ("epoch", "batch", "loss", "batch_size", "weight", "time")
        for epoch, batch, loss, size, weight, at in zip(*(series[name] for name in names), strict=True):
            yield 1, 1, 1, epoch, 0, batch, 0, 0, loss, size, weight, at


def serve() -> None:
    """Take bodies, decode them with the quickest reader at hand, and count their records."""
    import asyncio
    import socket

    import uvicorn
    from fastapi import FastAPI, Request
    from pydantic_core import from_json

    app = FastAPI()

    @app.post("/records")
    async def post_records(request: Request) -> dict[str, int]:
        body = from_json(await request.body())
        return {"stored": sum(len(series["loss"]) for series in body["series"].values())}

    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        asyncio.run(uvicorn.Server(uvicorn.Config(app, log_level="warning")).serve(sockets=[listener]))


if __name__ == "__main__":
    serve()
