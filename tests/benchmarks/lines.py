"""Kept-alive HTTP/1.1 connections of one asyncio loop, so light that the service keeps its cores."""

import asyncio
from typing import NamedTuple

HEAD_END = b"\r\n\r\n"
READ_BYTES = 65_536


class Answer(NamedTuple):
    """What came back."""

    status: int
    head: bytes
    """In lower case."""
    body: bytes

    def header(self, name: bytes) -> bytes | None:
        """Return one header's value; None where there is none."""
        at = self.head.find(b"\r\n" + name + b":")
        return None if at < 0 else self.head[at + len(name) + 3 :].split(b"\r\n", 1)[0].strip()


class Line:
    """One connection, on which one request is under way at a time."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._head = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        """Send one request and return its whole answer."""
        reader = await self._send(method, path, body)
        head = (await reader.readuntil(HEAD_END)).lower()
        answer = Answer(int(head[9:12]), head, b"")
        length = int(answer.header(b"content-length") or 0)
        return answer._replace(body=await reader.readexactly(length))

    async def listen(self, path: str) -> asyncio.StreamReader:
        """Open a stream and return what reads it, its answer's head included."""
        return await self._send("GET", path, b"")

    def close(self) -> None:
        """Let go of the connection."""
        if self._writer is not None:
            self._writer.close()

    async def _send(self, method: str, path: str, body: bytes) -> asyncio.StreamReader:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        about = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n" if body else ""
        self._writer.write(f"{method} {path} HTTP/1.1\r\n{self._head}{about}\r\n".encode() + body)
        return self._reader
