"""Every failure the service tells a caller, as one tree; status and code live on the class.

LossboardError
├── BadRequest              400  the body can't be read at all
│   └── InvalidInput        422  it can be read, and a named field is wrong
├── Unauthorized            401  no token, or another one
├── Forbidden               403  a Host, an Origin or a setting says no
├── NotFound                404
│   └── RunNotFound         404  PUT the run first
├── Conflict                409  it contradicts what is stored
├── TooLarge                413  send less at once
├── UnknownEncoding         415  send it as it is, or gzipped
├── Busy                    429  try again after `Retry-After`
├── Unavailable             503  the service is starting or stopping, or its database is away
├── StorageDamaged          500  the database can't be read there; nothing was stored
└── StorageFull             507  no room on the disk; nothing was stored

Routes raise these, `api/problems.py` alone formats them. A message says what happened and
what to do, and holds no path, no SQL and no secret.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple


class FieldError(NamedTuple):
    """One wrong field of a request, such as `records[17].epoch`."""

    field: str
    message: str


class LossboardError(Exception):
    """The root: a failure whose text may be shown to anybody who may call."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "The service failed"

    def __init__(
        self,
        detail: str,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})


class BadRequest(LossboardError):
    """The request can't be read."""

    status, code, title = 400, "bad-request", "The request can't be read"


class InvalidInput(BadRequest):
    """A named field of the request is wrong; nothing of it was stored."""

    status, code, title = 422, "invalid-input", "A field is wrong"


class Unauthorized(LossboardError):
    """The caller has shown no token, or a wrong one."""

    status, code, title = 401, "unauthorized", "A token is needed"


class Forbidden(LossboardError):
    """The caller's Host, Origin or the service's settings forbid it."""

    status, code, title = 403, "forbidden", "Not allowed"


class NotFound(LossboardError):
    """There is nothing at this address."""

    status, code, title = 404, "not-found", "Nothing here"


class RunNotFound(NotFound):
    """No run has this id."""

    code, title = "run-not-found", "No such run"


class Conflict(LossboardError):
    """The request contradicts what is stored."""

    status, code, title = 409, "conflict", "This contradicts what is stored"


class TooLarge(LossboardError):
    """The request is larger than one request may be."""

    status, code, title = 413, "too-large", "The request is too large"


class UnknownEncoding(LossboardError):
    """The body is compressed in a way that is not read here."""

    status, code, title = 415, "unknown-encoding", "The body's encoding is not known"


class Busy(LossboardError):
    """The writer's queue is full."""

    status, code, title = 429, "busy", "The service is busy"


class Unavailable(LossboardError):
    """The service is starting or stopping, or its database does not answer."""

    status, code, title = 503, "unavailable", "The service is not ready"


class StorageDamaged(LossboardError):
    """The database is damaged where this request had to read or write."""

    status, code, title = 500, "storage-damaged", "The database is damaged"


class StorageFull(LossboardError):
    """The disk has no room; nothing of the request was stored."""

    status, code, title = 507, "storage-full", "The disk is full"
