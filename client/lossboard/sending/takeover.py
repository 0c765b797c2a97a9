"""Sending what dead writers of this machine left in the state folder, beside one's own records."""

import math
import time
from pathlib import Path
from typing import Final

from lossboard.faults import Faults
from lossboard.journal.reading import NewerFormat, read_manifest
from lossboard.sending.addresses import is_loopback, is_same_place
from lossboard.sending.answers import Refused
from lossboard.sending.delivery import Delivery
from lossboard.sending.leftover import Leftover, NotTaken, discard_torn, take_folder
from lossboard.sending.transport import Transport, Unreachable
from lossboard.settings import Settings

SCAN_S: Final = 60.0  # between two looks for dead writers


class Takeover:
    """Finds dead writers of the same state folder and sends what they left, a request a call."""

    def __init__(self, settings: Settings, own_writer: str) -> None:
        self._root = settings.dir / "journal"
        self._url = settings.url
        self._run = settings.run
        self._own = own_writer
        self._faults = Faults()  # what is wrong with a folder is not the run's that found it
        self._is_last = False
        self._next_scan = 0.0
        self._waiting: list[Path] = []
        self._current: tuple[Leftover, Delivery] | None = None

    def send_some(self, transport: Transport) -> bool:
        """Send one request's worth; return whether there is more to do at once.

        Raises: Unreachable, as every delivery does.
        """
        self._current = self._current or self._take_next(transport.url)
        if self._current is None:
            return False
        leftover, delivery = self._current
        try:
            if delivery.send_some(transport):
                return True
            leftover.send_end(delivery, transport)
            leftover.close(remove=True)
        except Refused:
            leftover.close(remove=False)  # not taken today: it keeps, and a later run tries again
        except Unreachable:
            raise
        except Exception as error:  # one folder that can't be read must not hold up our own records
            self._faults.warn(leftover.folder.name, f"can't send {leftover.folder}: {error!r}")
            leftover.close(remove=False)
        self._current = None
        return True

    def send_children(self, transport: Transport) -> bool:
        """At the end, the same for what forked children of our own run left: nobody else may come for it.

        Raises: Unreachable, as every delivery does.
        """
        if not self._is_last:
            self._is_last = True
            self._next_scan = math.inf
            self._waiting = [path for path in self._find_folders() if self._is_of_child(path)]
        return self.send_some(transport)

    def _find_folders(self) -> list[Path]:
        return [path for path in sorted(self._root.glob("*")) if path.name != self._own]

    def _is_of_child(self, folder: Path) -> bool:
        try:
            manifest = read_manifest(folder)
        except (OSError, ValueError):
            return False  # what can't be read is nobody's child
        return manifest.get("run") == self._run and manifest.get("is_forked") is True

    def _take_next(self, at: str) -> tuple[Leftover, Delivery] | None:
        if not self._waiting and time.monotonic() >= self._next_scan:
            self._next_scan = time.monotonic() + SCAN_S
            self._waiting = self._find_folders()
        while self._waiting:
            if taken := self._take(self._waiting.pop(0), at):
                return taken
        return None

    def _take(self, folder: Path, at: str) -> tuple[Leftover, Delivery] | None:
        """Take one folder, if it is free and was meant for the service `at` that we send to."""
        leftover = None
        try:
            leftover = take_folder(folder)
            if is_meant_for(leftover.manifest.get("address"), self._url, at):
                return leftover, leftover.make_delivery()
        except NotTaken:
            return None
        except NewerFormat as error:
            self._faults.warn("newer", f"{error}; it is left alone until lossboard is upgraded here")
        except (OSError, ValueError, KeyError, TypeError) as error:
            # One without a manifest is what a kill left, is being made, or went this moment.
            is_torn = leftover is None and discard_torn(folder)
            if not is_torn and not isinstance(error, FileNotFoundError | NotADirectoryError):
                self._faults.warn(folder.name, f"can't read {folder}, it is left alone: {error!r}")
        if leftover is not None:
            leftover.close(remove=False)
        return None


def is_meant_for(address: object, url: str | None, at: str) -> bool:
    """Whether a writer that was told `address` may be sent to the service `at`; `url` is what we were told.

    One that was told none meant a service of this machine, and its config is nobody else's business.
    """
    if address is None:
        return url is None or is_loopback(url)
    return isinstance(address, str) and is_same_place(address, at)
