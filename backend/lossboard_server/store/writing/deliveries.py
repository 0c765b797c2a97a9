"""What the store is asked to take, already checked, and what it answers."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from lossboard_server.domain.blocks import Block


@dataclass(slots=True)
class SeriesMeaning:
    """What a series' numbers are, as declared; None leaves what is known."""

    reduction: str | None = None
    weight_unit: str | None = None
    weight_source: str | None = None
    traits: dict[str, Any] = field(default_factory=dict)
    """What is new of `wire.TRAITS`; an entry of None takes one back."""


@dataclass(slots=True)
class AttemptStart:
    """One start of the training as its client tells it."""

    started_unix_s: float
    start_epoch: int | None = None
    start_batch: int = 0
    world_size: int = 1


@dataclass(slots=True)
class RunSpec:
    """What a client says of its run; None leaves what is known."""

    project: str | None = None
    name: str | None = None
    config: dict[str, Any] | None = None
    tags: list[str] | None = None
    environment: dict[str, Any] | None = None
    series: dict[str, SeriesMeaning] = field(default_factory=dict)
    attempt: AttemptStart | None = None


@dataclass(slots=True)
class Registered:
    """The answer to making a run."""

    run: str
    name: str
    project: str
    attempt: int
    created: bool


@dataclass(slots=True)
class Sender:
    """Who sends: one process, and where this request stands in its journal."""

    writer: str
    seq: int
    attempt: float
    rank: int
    dropped: dict[str, int] | None = None
    sent: float | None = None
    """When it was sent, in unix seconds of the clock that its records' times are of; None: not told."""


@dataclass(slots=True)
class Delivery:
    """One request's records, checked; their indexes count only where there is a sender.

    `state` is the sender's, or where none is named what somebody says of the whole run.
    """

    blocks: Sequence[Block]
    sender: Sender | None = None
    meanings: dict[str, SeriesMeaning] = field(default_factory=dict)
    state: str | None = None


@dataclass(slots=True)
class Receipt:
    """What became of a request: rows stored, rows skipped, the index expected next."""

    stored: int
    duplicates: int
    next: int | None
