"""What the database last said of itself: whether it takes records, is full, or is damaged."""

import logging
import threading
import time
from typing import Final, Literal

from lossboard_server.errors import StorageDamaged, StorageFull
from lossboard_server.store.failures import as_public

logger = logging.getLogger(__name__)

Storage = Literal["ok", "full", "damaged"]

LOG_INTERVAL_S: Final = 60.0  # clients come again every second while a disk is full


class Condition:
    """Notes what reading and writing met; may be told from any thread.

    Damage stays noted until the next start: what was read once is not whole again by being left alone.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_full = False
        self._is_damaged = False
        self._logged: dict[str, float] = {}
        self.failures: dict[str, int] = {"full": 0, "damaged": 0}
        self.commits = 0

    @property
    def storage(self) -> Storage:
        """The worst that is known now."""
        return "damaged" if self._is_damaged else "full" if self._is_full else "ok"

    def note_commit(self) -> None:
        """Note that the database took a change."""
        self.commits += 1
        if self._is_full:
            self._is_full = False
            logger.warning("the disk has room again: records are taken")

    def tell(self, error: BaseException) -> BaseException:
        """Return what a caller is told of a database error, noting what it says of the database."""
        public = as_public(error)
        if isinstance(public, StorageFull):
            self._is_full = True
            self._note("full", "the disk is full, nothing is stored until it has room: %s", error)
        elif isinstance(public, StorageDamaged):
            self._is_damaged = True
            self._note(
                "damaged", "the database is damaged; end the service and run `lossboard doctor`: %s", error
            )
        return public

    def _note(self, what: str, message: str, error: BaseException) -> None:
        with self._lock:
            self.failures[what] += 1
            is_due = time.monotonic() - self._logged.get(what, -LOG_INTERVAL_S) >= LOG_INTERVAL_S
            if is_due:
                self._logged[what] = time.monotonic()
        if is_due:
            logger.error(message, getattr(error, "orig", error))
