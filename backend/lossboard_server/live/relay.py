"""The relay: carries changes between replicas, so that a viewer hears of what any of them has written."""

import logging
import selectors
import socket
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Final, Protocol

from lossboard_server.domain.changes import Change, SeenRun

TELL_INTERVAL_S: Final = 0.25  # a database takes its notifications one transaction after another
POLL_INTERVAL_S: Final = 2.0  # what a lost notification costs, and a pooler that carries none
RETRY_INTERVALS_S: Final = (0.1, 0.25, 0.5, 1.0, 2.0)  # while the database is away
MAX_TEXT: Final = 7_900  # characters; PostgreSQL takes 8,000 bytes
EVERYTHING: Final = "*"  # more runs than one notification holds: look at all
CLOSE_TIMEOUT_S: Final = 5.0

_log = logging.getLogger("lossboard_server")


class Channel(Protocol):
    """A connection that hears and tells."""

    def fileno(self) -> int: ...
    def hear(self) -> list[str]: ...
    def tell(self, text: str) -> None: ...
    def close(self) -> None: ...


class Source(Protocol):
    """Where the relay looks: store.elsewhere.Elsewhere."""

    def open_channel(self) -> Channel: ...
    def read_versions(self) -> dict[int, tuple[str, int]]: ...
    def read_runs(self, keys: Collection[int]) -> Sequence[SeenRun]: ...


@dataclass(slots=True)
class _Known:
    """The last of a run that viewers here were told."""

    run: str
    version: int
    about: str = ""


class Relay:
    """Tells others which runs were changed here, and viewers here what was changed elsewhere.

    A notification names runs and nothing else: what changed is read from the database. `tell`
    may be called from any thread; everything else happens on the relay's own.
    """

    def __init__(self, announce: Callable[[list[Change]], None]) -> None:
        self._announce = announce
        self._lock = threading.Lock()  # guards _known and _untold
        self._known: dict[int, _Known] = {}
        self._untold: set[int] = set()
        self._has_looked = False
        self._closing = threading.Event()
        self._ears: socket.socket | None = None
        self._bell: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def start(self, source: Source) -> None:
        """Begin to listen."""
        self._ears, self._bell = socket.socketpair()
        self._bell.setblocking(False)
        self._thread = threading.Thread(target=self._run, args=(source,), name="lossboard-relay", daemon=True)
        self._thread.start()

    def tell(self, changes: list[Change]) -> None:
        """Tell viewers here at once and other replicas soon; never waits."""
        self._announce(changes)
        with self._lock:
            for change in changes:
                self._untold.add(change.key)
                known = self._known.get(change.key)
                # Where a version lies between, somebody else made it, and it is still to be told here.
                if known is not None and known.version == change.version - 1:
                    known.version = change.version
                elif known is None and change.version == 1:
                    self._known[change.key] = _Known(change.run, 1)
        self._ring()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        self._ring()
        if self._thread is not None:
            self._thread.join(CLOSE_TIMEOUT_S)
        for end in (self._bell, self._ears):
            if end is not None:
                end.close()

    def _ring(self) -> None:
        if self._bell is not None:
            with suppress(OSError):  # full: it wakes anyway; closed: it has ended
                self._bell.send(b"!")

    def _run(self, source: Source) -> None:
        failures = 0
        while not self._closing.is_set():
            channel = None
            try:
                channel = source.open_channel()
                self._poll(source)  # what was told while nobody listened
                failures = 0
                self._follow(source, channel)
            except Exception as error:
                if not failures:
                    _log.warning("the event stream of other replicas broke off: %s", error)
                self._closing.wait(RETRY_INTERVALS_S[min(failures, len(RETRY_INTERVALS_S) - 1)])
                failures += 1
            finally:
                if channel is not None:
                    with suppress(Exception):  # it is gone already
                        channel.close()

    def _follow(self, source: Source, channel: Channel) -> None:
        assert self._ears is not None
        last_told = last_polled = monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self._ears, selectors.EVENT_READ)
            selector.register(channel, selectors.EVENT_READ)
            while not self._closing.is_set():
                heard = channel.hear()
                if EVERYTHING in heard or monotonic() >= last_polled + POLL_INTERVAL_S:
                    self._poll(source)
                    last_polled = monotonic()
                elif heard:
                    self._tell_viewers(source, {int(key) for text in heard for key in text.split()})
                if self._untold and monotonic() >= last_told + TELL_INTERVAL_S:
                    self._tell_others(channel)
                    last_told = monotonic()
                    continue  # what came meanwhile no longer waits in the socket
                due = [last_polled + POLL_INTERVAL_S]
                if self._untold:
                    due.append(last_told + TELL_INTERVAL_S)
                for key, _ in selector.select(max(0.0, min(due) - monotonic())):
                    if key.fileobj is self._ears:
                        self._ears.recv(4096)

    def _tell_others(self, channel: Channel) -> None:
        with self._lock:
            keys, self._untold = self._untold, set()
        text = " ".join(map(str, sorted(keys)))
        try:
            channel.tell(text if 0 not in keys and len(text) <= MAX_TEXT else EVERYTHING)
        except Exception:
            with self._lock:
                self._untold |= keys
            raise

    def _poll(self, source: Source) -> None:
        versions = source.read_versions()
        with self._lock:
            if not self._has_looked:  # pages that are open ask for all when they come
                self._has_looked = True
                self._known = {key: _Known(run, version) for key, (run, version) in versions.items()}
                return
            others = {
                key
                for key, (_, version) in versions.items()
                if key not in self._known or self._known[key].version < version
            }
            others |= self._known.keys() - versions.keys()
        if others:
            self._tell_viewers(source, others)

    def _tell_viewers(self, source: Source, keys: Iterable[int]) -> None:
        gone = set(keys)
        changes = []
        for seen in source.read_runs(gone):
            gone.discard(seen.key)
            with self._lock:
                known = self._known.get(seen.key)
                if known is not None and known.version >= seen.version:
                    continue
                is_news = known is None or known.about != seen.about
                self._known[seen.key] = _Known(seen.run, seen.version, seen.about)
            changes.append(Change(seen.run, set(seen.series), seen.version, is_news, seen.key))
        with self._lock:
            removed = [known for known in (self._known.pop(key, None) for key in gone) if known is not None]
        changes += [Change(known.run, version=known.version, is_about_run=True) for known in removed]
        if changes:
            self._announce(changes)
