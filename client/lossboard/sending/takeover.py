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
        self._journal: Leftover | None = None
        self._delivery: Delivery | None = None

    def send_some(self, transport: Transport) -> bool:
        """Send one request's worth; return whether there is more to do at once.

        Raises: Unreachable, as every delivery does.
        """
        if self._journal is None and not self._take_next(transport.url):
            return False
        journal, delivery = self._journal, self._delivery
        assert journal is not None
        assert delivery is not None
        try:
            if delivery.send_some(transport, journal.faults):
                return True
            journal.send_end(delivery, transport)
            journal.close(remove=True)
        except Refused:
            journal.close(remove=False)  # not taken today: it keeps, and a later run tries again
        except Unreachable:
            raise
        except Exception as error:  # one folder that can't be read must not hold up our own records
            self._faults.warn(journal.folder.name, f"can't send {journal.folder}: {error!r}")
            journal.close(remove=False)
        self._journal = self._delivery = None
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

    def _take_next(self, at: str) -> bool:
        if not self._waiting:
            if time.monotonic() < self._next_scan:
                return False
            self._next_scan = time.monotonic() + SCAN_S
            self._waiting = self._find_folders()
        while self._waiting:
            if self._take(self._waiting.pop(0), at):
                return True
        return False

    def _take(self, folder: Path, at: str) -> bool:
        """Take one folder, if it is free and was meant for the service `at` that we send to."""
        try:
            journal = take_folder(folder)
        except NotTaken:
            return False
        except (FileNotFoundError, NotADirectoryError):
            discard_torn(folder)  # a kill between the folder and its manifest; or it went this moment
            return False
        except NewerFormat as error:
            self._faults.warn("newer", f"{error}; it is left alone until lossboard is upgraded here")
            return False
        except (OSError, ValueError, KeyError, TypeError) as error:
            if not discard_torn(folder):
                self._faults.warn(folder.name, f"can't read {folder}, it is left alone: {error!r}")
            return False
        try:
            if is_meant_for(journal.manifest.get("address"), self._url, at):
                self._journal, self._delivery = journal, journal.deliver()
                return True
        except (ValueError, KeyError, TypeError) as error:
            self._faults.warn(folder.name, f"can't read {folder}, it is left alone: {error!r}")
        journal.close(remove=False)
        return False


def is_meant_for(address: object, url: str | None, at: str) -> bool:
    """Whether a writer that was told `address` may be sent to the service `at`; `url` is what we were told.

    One that was told none meant a service of this machine, and its config is nobody else's business.
    """
    if address is None:
        return url is None or is_loopback(url)
    return isinstance(address, str) and is_same_place(address, at)
