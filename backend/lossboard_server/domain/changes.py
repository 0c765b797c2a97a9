"""What a committed transaction changed, as viewers are told, and what another replica finds of it."""

from dataclasses import dataclass, field
from typing import NamedTuple


@dataclass(slots=True)
class Change:
    """What a job changed, told to viewers after the commit."""

    run: str
    series: set[str] = field(default_factory=set)
    version: int = 0
    is_about_run: bool = False
    """The run was made, renamed or changed its state."""
    key: int = 0
    """Of the run, by which other replicas are told."""


class SeenRun(NamedTuple):
    """A run as it stands in the database, whoever wrote it."""

    key: int
    run: str
    version: int
    series: frozenset[str]
    about: str
    """What a list of runs shows beside its records; another text is news for it."""
