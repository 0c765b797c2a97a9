"""One kept HTTP connection to the service: JSON out, an `Answer` in, every failure an `Unreachable`.

Unreachable         no usable answer; ask again later
├── TimedOut        no whole one in time
├── NotNow          408, 429 or 5xx: the connection is good, the service is busy or unwell
└── Unproven        whoever answers on this machine does not hold our token
"""

import encodings.idna  # noqa: F401 - socket imports it at the first connection; see sender.py why not then
import hmac
import http.client
import json
import os
import select
import time
import zlib
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from lossboard import wire
from lossboard.sending.addresses import is_loopback
from lossboard.sending.deadlines import TimedResponse

TIMEOUT_S: Final = 10.0  # of a question and its whole answer; a slow service may take 5 s
MAX_ANSWER_BYTES: Final = 256 << 10  # ours have some 200; parsing more would hold the interpreter's lock
MAX_RETRY_AFTER_S: Final = 60.0
NONCE_BYTES: Final = 16

# Level 1 takes 0.1 ms for 200 records (11 kB) and 2 ms for 5,000 (295 kB), and leaves a third: it saves
# 100 MB for each second of a core. Below some packets nothing is gained, and on one machine never.
GZIP_FROM_BYTES: Final = 4_096
GZIP_LEVEL: Final = 1
GZIP_SLICE_BYTES: Final = 64 << 10  # compressed in one call; zlib lets go of the interpreter's lock for it

_NOT_READY: Final = (408, 429)
_NO_GZIP_HERE: Final = (400, 415)
_BROKEN: Final = (OSError, http.client.HTTPException, UnicodeError)  # the last: a host that is no name


class Unreachable(Exception):
    """No usable answer: no connection, no HTTP, no JSON, or a status that asks to try again."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TimedOut(Unreachable):
    """No whole answer in time: the request may be too large for this line or this service."""


class NotNow(Unreachable):
    """A status that asks to try again; the connection may be kept."""


class Unproven(Unreachable):
    """Whoever answers does not hold our token; it was not sent."""


class Answer(NamedTuple):
    """What the service said; `body` is {} where an error carried no JSON."""

    status: int
    body: dict[str, Any]


class _Raw(NamedTuple):
    status: int
    content: bytes
    headers: http.client.HTTPMessage


class Transport:
    """Sends requests over one connection, which it keeps between them. Not for several threads.

    On this machine each new connection is first asked for a proof that the other end
    holds the token: on a shared node somebody else may own the port by now. Elsewhere the
    address is what was configured. `is_near` says whether the service is on this machine;
    None: look at the connection.
    """

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        timeout_s: float = TIMEOUT_S,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        is_near: bool | None = None,
    ) -> None:
        self.url = url
        self._token = token
        self._timeout_s = timeout_s
        self._max_answer_bytes = max_answer_bytes
        self._is_near = is_near
        self._takes_gzip = True
        self._needs_proof = token is not None and is_loopback(url)
        self._until = 0.0
        self._opened = 0  # connections
        parts = urlsplit(url)
        self._prefix = parts.path.rstrip("/")
        secure = parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        # http.client sets TCP_NODELAY, reads no proxy settings and follows no redirect, so
        # that the token goes to this address and no other.
        self._connection = kind(str(parts.hostname), parts.port, timeout=timeout_s)
        self._connection.auto_open = 0  # a connection that it opened by itself would not be proven
        self._connection.response_class = self._open_response  # type: ignore[assignment]

    def request(
        self, method: str, path: str, content: bytes | None = None, *, with_token: bool = True
    ) -> Answer:
        """Send one request and read its answer, within the time limit; a proof has its own.

        Raises: Unreachable on network errors, on 408, 429 and 5xx, and on an answer that
        is none of ours.
        """
        try:
            raw = self._ask(method, path, content, with_token)
        except TimeoutError as error:
            self.close()
            raise TimedOut(f"no whole answer within {self._timeout_s:g} s") from error
        except _BROKEN as error:
            self.close()
            raise Unreachable(f"{type(error).__name__}: {error}") from error
        except BaseException:
            self.close()  # half a request is on its way
            raise
        if raw.status in _NOT_READY or raw.status >= 500:
            raise NotNow(f"the service answered {raw.status}", _retry_after_s(raw.headers))
        return Answer(raw.status, self._read_body(raw))

    def connection_number(self) -> int:
        """Return the number of the connection that the next request will use, as far as is known now."""
        return self._opened if self._is_open() else self._opened + 1

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        self._connection.close()

    def _ask(self, method: str, path: str, content: bytes | None, with_token: bool) -> _Raw:
        for is_second in (False, True):
            was_open = self._is_open()
            try:
                if not was_open:
                    self._open(with_token and self._needs_proof)
                return self._send(method, path, content, with_token)
            except (ConnectionError, http.client.BadStatusLine):
                # A server closes a connection that idled (uvicorn after 5 s), and we may learn of
                # it only here. Once more on a fresh one: sending twice is harmless, seq tells.
                self.close()
                if is_second or not was_open:
                    raise
        raise AssertionError("the second time returns or raises")

    def _is_open(self) -> bool:
        """Whether there is a connection that the other end has not closed."""
        sock = self._connection.sock
        if sock is None:
            return False
        if _is_readable(sock):  # nothing was asked: it can only be the end
            self.close()
            return False
        return True

    def _open(self, asks_proof: bool) -> None:
        self._until = time.monotonic() + self._timeout_s
        self._connection.connect()
        self._opened += 1
        if self._is_near is None:
            sock = self._connection.sock
            self._is_near = sock.getpeername()[0] == sock.getsockname()[0]
        if asks_proof:
            self._ask_proof()

    def _ask_proof(self) -> None:
        nonce = os.urandom(NONCE_BYTES).hex()
        raw = self._send("GET", f"/healthz?nonce={nonce}", None, with_token=False)
        if raw.status != 200:
            raise NotNow(f"healthz answered {raw.status}", _retry_after_s(raw.headers))
        proof = self._read_body(raw).get("proof")
        expected = wire.prove(str(self._token), nonce)
        if not (isinstance(proof, str) and proof.isascii() and hmac.compare_digest(proof, expected)):
            self.close()
            raise Unproven(f"whoever answers at {self.url} does not hold our token; it is not sent there")

    def _send(self, method: str, path: str, content: bytes | None, with_token: bool) -> _Raw:
        headers = {"Accept": "application/json"}
        if with_token and self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        if content is not None:
            headers["Content-Type"] = "application/json"
            if self._takes_gzip and not self._is_near and len(content) >= GZIP_FROM_BYTES:
                raw = self._exchange(method, path, _gzip(content), headers | {"Content-Encoding": "gzip"})
                if raw.status not in _NO_GZIP_HERE:
                    return raw
                self._takes_gzip = False  # somebody on the way can't read it
        return self._exchange(method, path, content, headers)

    def _exchange(self, method: str, path: str, content: bytes | None, headers: dict[str, str]) -> _Raw:
        if self._connection.sock is not None:
            self._connection.sock.settimeout(self._timeout_s)
        self._until = time.monotonic() + self._timeout_s
        self._connection.request(method, self._prefix + path, content, headers)
        response = self._connection.getresponse()
        raw = response.read(self._max_answer_bytes + 1)
        if len(raw) > self._max_answer_bytes:
            raise http.client.HTTPException("the answer is too large")
        if response.length:  # `read` with a limit says nothing of an answer that was cut off
            raise http.client.IncompleteRead(raw, response.length)
        return _Raw(response.status, raw, response.headers)

    def _open_response(self, sock: Any, *args: Any, **named: Any) -> TimedResponse:
        return TimedResponse(sock, self._remaining_s, *args, **named)

    def _remaining_s(self) -> float:
        """What is left of the request's time. Raises: TimeoutError where nothing is."""
        remaining = self._until - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        return remaining

    def _read_body(self, raw: _Raw) -> dict[str, Any]:
        if 300 <= raw.status < 400:
            place = str(raw.headers.get("Location", "elsewhere"))[:200]
            return {
                "detail": f"it points to {place!r}; the token is not sent there unless LOSSBOARD_URL says so"
            }
        try:
            body = json.loads(raw.content)
        except (ValueError, RecursionError):
            body = None
        if isinstance(body, dict):
            return body
        if raw.status < 300:
            self.close()
            raise Unreachable("the answer is not Lossboard's; is another service at this address?")
        return {}


def encode(value: object) -> bytes:
    """Encode JSON as the wire wants it; non-finite numbers must have become their names before."""
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def _gzip(content: bytes) -> bytes:
    engine = zlib.compressobj(GZIP_LEVEL, wbits=31)
    starts = range(0, len(content), GZIP_SLICE_BYTES)
    parts = [engine.compress(content[start : start + GZIP_SLICE_BYTES]) for start in starts]
    return b"".join((*parts, engine.flush()))


def _is_readable(sock: Any) -> bool:
    if hasattr(select, "poll"):  # a training has many files open, and select knows none above 1,023
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([sock], [], [], 0)[0])


def _retry_after_s(headers: http.client.HTTPMessage) -> float | None:
    """Read Retry-After, seconds or a date; a date counts from the service's own clock where it tells it."""
    text = (headers.get("Retry-After") or "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text), MAX_RETRY_AFTER_S)
    until = _unix_s(text)
    if until is None:
        return None
    now = _unix_s(headers.get("Date") or "")
    return min(max(0.0, until - (time.time() if now is None else now)), MAX_RETRY_AFTER_S)


def _unix_s(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError, OSError):
        return None
