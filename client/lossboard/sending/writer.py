"""One process's writer of a run: its journal, and the sender that delivers it."""

import os
import socket
from typing import Any

from lossboard.environment import describe_environment
from lossboard.faults import Faults, say
from lossboard.identity import boot_id, pid_space, started_ticks
from lossboard.journal.journal import Journal
from lossboard.journal.reading import Series
from lossboard.ranks import Place
from lossboard.sending.delivery import Delivery
from lossboard.sending.discovery import find_service
from lossboard.sending.sender import Sender
from lossboard.sending.takeover import Takeover
from lossboard.settings import Settings


class Launch:
    """What all writers of a run in this process and its forked children share."""

    def __init__(self, settings: Settings, place: Place) -> None:
        self.settings = settings
        self.rank, self.attempt = place.rank, place.attempt
        self.body: dict[str, Any] = {
            "project": settings.project,
            "name": settings.name,
            "config": settings.config,
            "tags": settings.tags,
            "environment": describe_environment(place.rank, place.world_size),
            "attempt": {
                "started_unix_s": self.attempt,
                "start_epoch": settings.start_epoch,
                "start_batch": 0,
                "resumed": settings.resume,
                "rank": self.rank,
                "world_size": place.world_size,
            },
        }

    def __getstate__(self) -> dict[str, Any]:
        # A pickle may become a file: another process finds the token as this one's service tells it.
        return self.__dict__ | {"settings": self.settings._replace(token=None)}

    def open_writer(self, faults: Faults, *, is_forked: bool) -> "Writer":
        """Open a writer for this process."""
        return Writer(self, faults, is_forked)


class Writer:
    """A journal and, online, the thread that empties it.

    A forked child's writer sends records only: heartbeats and the end are its parent's,
    since a worker that ends is not a training that ends.
    """

    def __init__(self, launch: Launch, faults: Faults, is_forked: bool) -> None:
        settings = launch.settings
        self._launch = launch
        self._faults = faults
        self._is_forked = is_forked
        manifest = launch.body | {
            "run": settings.run,
            "address": settings.url,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "pid_started": started_ticks(os.getpid()),
            "boot": boot_id(),
            "pid_space": pid_space(),
            "rank": launch.rank,
            "is_forked": is_forked,
        }
        is_online = settings.mode == "online"
        self._journal = Journal(settings.dir, manifest, faults, online=is_online)
        self.append = self._journal.append
        self._sender: Sender | None = None
        kept_in = str(self._journal.folder or "memory")
        if is_online:
            self._start_sender(kept_in)
        elif not is_forked:
            say(f"run {settings.name} is recorded offline in {kept_in}")

    def declare(self, meaning: tuple[str, str, str, str]) -> int:
        """Give a series its number."""
        return self._journal.declare(Series(*meaning))

    def tell(self, name: str, traits: dict[str, Any]) -> None:
        """Note what else is known of a series' loss."""
        self._journal.tell(name, traits)

    def url(self) -> str | None:
        """Return the page's address as far as files tell; nothing is sent for it."""
        if self._sender is None:
            return None
        if self._sender.url is not None:
            return self._sender.url
        settings = self._launch.settings
        service = find_service(settings.dir, settings.url, settings.token)
        return None if service is None else f"{service.url}/?run={settings.run}"

    @property
    def is_start_unknown(self) -> bool:
        """Whether nothing has told where a resumed attempt starts."""
        attempt = self._launch.body["attempt"]
        return attempt["resumed"] and attempt["start_epoch"] is None

    def start_at(self, epoch: int, batch: int) -> None:
        """Note where a resumed attempt starts, told before its first record."""
        if self.is_start_unknown:
            attempt = self._launch.body["attempt"]
            attempt["start_epoch"], attempt["start_batch"] = epoch, batch
            self._journal.describe_anew({"attempt": attempt})
            if self._sender is not None:
                self._sender.describe_anew()

    def finish(self, state: str, deadline_s: float) -> None:
        """End the writer; what can't be sent in time stays in the journal."""
        self._journal.end(state)
        if self._sender is None:
            self._tell_kept(self._journal.unsaved())
            self._journal.close()
            return
        if self._sender.finish(state, deadline_s):
            return
        self._tell_kept(self._journal.pending() + self._sender.unsent())

    def abandon(self) -> None:
        """Let go in a forked child."""
        self._journal.abandon()

    def _start_sender(self, kept_in: str) -> None:
        launch = self._launch
        settings = launch.settings
        delivery = Delivery(
            self._journal,
            self._faults,
            str(settings.run),
            launch.attempt,
            launch.rank,
            lambda: dict(launch.body),
        )
        sender = Sender(
            delivery,
            Takeover(settings, self._journal.writer),
            settings,
            self._faults,
            kept_in,
            is_forked=self._is_forked,
            over=self._journal.close,
        )
        try:
            sender.start()
        except RuntimeError as error:  # no more threads for this process, or its interpreter is ending
            self._faults.warn(
                "thread", f"{error}: records are kept in {kept_in}, the next run here sends them"
            )
            return
        self._sender = sender

    def _tell_kept(self, left: int) -> None:
        """Say at the end what was not delivered, and where it is."""
        lost = min(left, self._journal.unsaved())
        name = self._launch.settings.name
        if lost:
            say(f"{_count(lost)} of {name} could neither be sent nor written to disk")
        if left > lost:
            place = self._journal.folder
            say(f"{_count(left - lost)} of {name} kept in {place}; the next run here sends them")


def _count(records: int) -> str:
    return "1 record" if records == 1 else f"{records} records"
