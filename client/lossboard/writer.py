"""One process's writer of a run: its journal, and the sender that delivers it."""

import os
import socket
from typing import Any

from lossboard.delivery import Delivery
from lossboard.discovery import find_service
from lossboard.environment import describe_environment
from lossboard.faults import Faults, say
from lossboard.identity import started_ticks
from lossboard.journal import Journal
from lossboard.ranks import Place
from lossboard.reading import Series
from lossboard.run import Run
from lossboard.sender import Sender
from lossboard.settings import Settings
from lossboard.takeover import Takeover


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

    def open_writer(self, run: Run, is_forked: bool) -> "Writer":
        """Open a writer for this process."""
        return Writer(self, run._faults, is_forked)


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
        self._is_online = settings.mode == "online"
        manifest = launch.body | {
            "run": settings.run,
            "address": settings.url,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "pid_started": started_ticks(os.getpid()),
            "rank": launch.rank,
            "is_forked": is_forked,
        }
        self._journal = Journal(settings.dir, manifest, faults, online=self._is_online)
        self.append = self._journal.append
        self._sender: Sender | None = None
        kept_in = str(self._journal.folder or "memory")
        if self._is_online:
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

    def start_at(self, epoch: int) -> None:
        """Note where a resumed attempt starts, told before its first record."""
        attempt = self._launch.body["attempt"]
        if attempt["resumed"] and attempt["start_epoch"] is None:
            attempt["start_epoch"] = epoch
            self._journal.describe_anew({"attempt": attempt})
            if self._sender is not None:
                self._sender.describe_anew()

    def finish(self, state: str, deadline_s: float) -> None:
        """End the writer; what can't be sent in time stays in the journal."""
        self._journal.end(state)
        if self._sender is None:
            self._journal.close()
            return
        if self._sender.finish(None if self._is_forked else state, deadline_s):
            return
        left = self._journal.pending() + self._sender.unsent()
        if left:
            place = self._journal.folder
            _tell_kept(left, str(self._launch.settings.name), None if place is None else str(place))

    def abandon(self) -> None:
        """Let go in a forked child."""
        self._journal.abandon()

    def _start_sender(self, kept_in: str) -> None:
        launch = self._launch
        settings = launch.settings
        delivery = Delivery(
            self._journal, str(settings.run), launch.attempt, launch.rank, lambda: dict(launch.body)
        )
        takeover = Takeover(settings, self._journal.writer)
        self._sender = Sender(
            delivery,
            settings,
            self._faults,
            f"run {settings.name}",
            kept_in,
            heartbeat=not self._is_forked,
            idle=None if self._is_forked else takeover.send_some,
            at_end=None if self._is_forked else takeover.send_children,
            over=self._journal.close,
        )
        self._sender.start()


def _tell_kept(count: int, name: str, place: str | None) -> None:
    """Say at the end what was not delivered, and where it is."""
    records = "1 record" if count == 1 else f"{count} records"
    if place is None:
        say(f"{records} of {name} could neither be sent nor written to disk")
    else:
        say(f"{records} of {name} kept in {place}; the next run here sends them")
