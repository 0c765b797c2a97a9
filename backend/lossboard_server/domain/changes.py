"""What a committed transaction changed, as viewers are told."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Change:
    """What a job changed, told to viewers after the commit."""

    run: str
    series: set[str] = field(default_factory=set)
    version: int = 0
    is_about_run: bool = False
    """The run was made, renamed or changed its state."""
