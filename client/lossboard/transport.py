"""One kept HTTP connection to the service: JSON out, an `Answer` in, every failure an `Unreachable`."""

import encodings.idna  # noqa: F401 - socket imports it at the first connection; see sender.py why not then
import http.client
import json
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

TIMEOUT_S: Final = 10.0  # a slow service may take 5 s for an answer
MAX_ANSWER_BYTES: Final = 16 << 20  # curves of a figure; what a sender gets is far below
MAX_RETRY_AFTER_S: Final = 60.0

_NOT_READY: Final = (408, 429)


class Unreachable(Exception):
    """No usable answer: no connection, no HTTP, no JSON, or a status that asks to try again."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Answer(NamedTuple):
    """What the service said; `body` is {} where an error carried no JSON."""

    status: int
    body: dict[str, Any]


class Transport:
    """Sends requests over one connection, which it keeps between them. Not for several threads."""

    def __init__(self, url: str, token: str | None, *, timeout_s: float = TIMEOUT_S) -> None:
        self.url = url
        self._token = token
        parts = urlsplit(url)
        self._prefix = parts.path.rstrip("/")
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        # http.client sets TCP_NODELAY, reads no proxy settings and follows no redirect, so
        # that the token goes to this address and no other.
        self._connection = kind(str(parts.hostname), parts.port, timeout=timeout_s)

    def request(
        self, method: str, path: str, content: bytes | None = None, *, with_token: bool = True
    ) -> Answer:
        """Send one request and read its answer.

        Raises: Unreachable on network errors, on 408, 429 and 5xx, and on an answer that
        is none of ours.
        """
        headers = {"Accept": "application/json"}
        if with_token and self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        if content is not None:
            headers["Content-Type"] = "application/json"
        try:
            status, raw, retry_after = self._exchange(method, self._prefix + path, content, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unreachable(f"{type(error).__name__}: {error}") from error
        if status in _NOT_READY or status >= 500:
            raise Unreachable(f"the service answered {status}", _seconds(retry_after))
        return Answer(status, self._read_json(status, raw))

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        self._connection.close()

    def _exchange(
        self, method: str, path: str, content: bytes | None, headers: dict[str, str]
    ) -> tuple[int, bytes, str | None]:
        was_open = self._connection.sock is not None
        try:
            self._connection.request(method, path, content, headers)
            response = self._connection.getresponse()
        except (ConnectionError, http.client.BadStatusLine):
            if not was_open:
                raise
            # A server closes a connection that idled (uvicorn after 5 s), and we learn of it
            # only here. Once more on a fresh one: sending twice is harmless, seq tells.
            self._connection.close()
            self._connection.request(method, path, content, headers)
            response = self._connection.getresponse()
        raw = response.read(MAX_ANSWER_BYTES + 1)
        if len(raw) > MAX_ANSWER_BYTES:
            raise http.client.HTTPException("the answer is too large")
        return response.status, raw, response.headers.get("Retry-After")

    def _read_json(self, status: int, raw: bytes) -> dict[str, Any]:
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            body = None
        if isinstance(body, dict):
            return body
        if status < 300:
            self.close()
            raise Unreachable("the answer is not Lossboard's; is another service at this address?")
        return {}


def encode(value: object) -> bytes:
    """Encode JSON as the wire wants it; non-finite numbers must have become their names before."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def _seconds(text: str | None) -> float | None:
    if text is None or not text.strip().isdecimal():
        return None  # an HTTP date: our own backoff does as well
    return min(float(text), MAX_RETRY_AFTER_S)
