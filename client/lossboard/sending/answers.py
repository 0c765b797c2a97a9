"""What the service's answers to a writer mean: refused, taken, how far it is, and which rows it names."""

import re
from typing import Any, Final

from lossboard.sending.transport import Answer, Unreachable

BAD_ROWS: Final = (400, 413, 422)

_ROW: Final = re.compile(r"series\.(?P<series>.+)\.(?P<column>\w+)\[(?P<row>\d+)\]")
_HEAD: Final = re.compile(r"series\.(?P<series>.+?)(?:\.(?:reduction|weight_unit|weight_source))?")


class Refused(Exception):
    """The service does not take this writer now: wrong token, wrong address, or a newer wire."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        detail = answer.body.get("detail") or answer.body.get("title") or "no reason given"
        super().__init__(f"the service answered {answer.status}: {str(detail)[:300]}")


def check_taken(answer: Answer, upto: int) -> None:
    """Check that the service says to hold every record below `upto`.

    An answer of 200 alone is no acknowledgement: whatever else may listen at an address
    says 200 too, and what is acknowledged leaves the journal.
    Raises: Unreachable.
    """
    told = read_next(answer)
    if told is None or told < upto:
        raise Unreachable(f"the answer acknowledges {told}, not the {upto} that were sent")


def read_next(answer: Answer) -> int | None:
    """Return the index that the service expects next of this writer, None where it says none."""
    told = answer.body.get("next")
    return told if type(told) is int and told >= 0 else None


def is_verdict(answer: Answer) -> bool:
    """Whether a refusal is Lossboard's own word on the request: a proxy's 400 says nothing of a row."""
    return isinstance(answer.body.get("code"), str)


def read_fields(answer: Answer) -> list[str]:
    """Return the fields that a refusal names."""
    errors = answer.body.get("errors")
    if not isinstance(errors, list):
        return []
    return [str(entry.get("field")) for entry in errors if isinstance(entry, dict)]


def find_rows(fields: list[str], columns: dict[str, dict[str, Any]]) -> set[int]:
    """Return the indices of the records that the fields name, those of a whole series included."""
    bad: set[int] = set()
    for field in fields:
        row, head = _ROW.fullmatch(field), _HEAD.fullmatch(field)
        found = row or head
        indices = columns.get(found["series"], {}).get("index", []) if found else []
        if row:
            indices = indices[int(row["row"]) : int(row["row"]) + 1]
        bad.update(indices)
    return bad
