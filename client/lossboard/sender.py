"""The thread that looks at the journal every 50 ms and delivers it, with backoff, heartbeat and finish."""

import logging  # noqa: F401 - not used here, but see below
import os
import threading
import time
from collections.abc import Callable
from typing import Final

from lossboard.delivery import Delivery, Refused
from lossboard.discovery import Service, find_service, is_proven
from lossboard.faults import Faults, say
from lossboard.settings import Settings
from lossboard.transport import Transport, Unreachable

# Whatever the thread needs is imported at the top, on the script's thread: a fork in the middle of
# an import on ours would leave the module's lock held for ever in the child.

LOOK_S: Final = 0.05  # between two looks at the journal; the hot path signals nobody
HEARTBEAT_S: Final = 10.0  # the service calls a run lost after 30 s
BACKOFF_FIRST_S: Final = 0.1
BACKOFF_CAP_S: Final = 5.0
BACKOFF_CAP_FINISHING_S: Final = 0.2  # of a wait while the script waits for us to end
ABSENT_S: Final = 3.0  # without a service, then one line says so


class Sender:
    """Delivers one writer's records on a daemon thread until it is told to finish.

    `idle` is called on the thread when everything own is sent; it may deliver what dead
    writers left, one request a call, and returns whether there is more. `at_end` does the same
    for what must go before the end, for up to half of the time that `finish` has. `over` is called
    last, with whether everything was delivered; it may come after `finish` gave up waiting.
    """

    def __init__(
        self,
        delivery: Delivery,
        settings: Settings,
        faults: Faults,
        title: str,
        kept_in: str,
        *,
        heartbeat: bool = True,
        idle: Callable[[Transport], bool] | None = None,
        at_end: Callable[[Transport], bool] | None = None,
        over: Callable[[bool], None] | None = None,
    ) -> None:
        self.url: str | None = None  # the run's page, once a service has taken the run
        self._delivery = delivery
        self._settings = settings
        self._faults = faults
        self._title = title
        self._kept_in = kept_in
        self._heartbeat = heartbeat
        self._idle = idle
        self._at_end = at_end
        self._at_end_until = 0.0
        self._over = over
        self._transport: Transport | None = None
        self._failures = 0
        self._next_heartbeat = 0.0
        self._started = time.monotonic()
        self._absence_told = False
        self._end_state: str | None = None
        self._ending = threading.Event()
        self._stopped = threading.Event()
        self.is_delivered = False  # everything, the end included
        self._thread = threading.Thread(target=self._work, name="lossboard-sender", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def finish(self, state: str | None, deadline_s: float) -> bool:
        """Let the thread send the rest and `state` (None: no end), and wait for it at most `deadline_s`.

        Returns whether everything was committed.
        """
        self._end_state = state
        self._at_end_until = time.monotonic() + deadline_s / 2
        self._delivery.rest_s = 0.0  # nobody trains beside it any more
        self._ending.set()
        self._thread.join(max(0.0, deadline_s))
        self._stopped.set()
        return self.is_delivered

    def unsent(self) -> int:
        """Return how many records were read from the journal and not committed."""
        return self._delivery.unsent()

    def describe_anew(self) -> None:
        """Put the run again at the next look: its description has changed."""
        self._delivery.forget_service()

    def _work(self) -> None:
        self._deliver()
        self._disconnect()
        if self._over is not None:
            self._over(self.is_delivered)

    def _deliver(self) -> None:
        while not self._stopped.is_set():
            was_ending = self._ending.is_set()
            try:
                pause = self._step(was_ending)
                self._failures = 0
            except Unreachable as trouble:
                if was_ending and self.url is None:
                    break  # no service was there the whole time: don't hold up the exit
                pause = self._back_off(trouble.retry_after_s)
            except Refused as trouble:
                self._faults.warn(f"refused-{trouble.answer.status}", f"{trouble}; trying again")
                self._disconnect()
                pause = BACKOFF_CAP_S
            except Exception as error:
                self._faults.count("internal-fault")
                self._faults.warn("sender", f"internal fault of the sender, it goes on: {error!r}")
                self._disconnect()
                pause = BACKOFF_CAP_S
            if self.is_delivered:
                break
            self._tell_absence()
            self._rest(pause, was_ending)

    def _step(self, is_ending: bool) -> float:
        """Do the next thing and return how long to wait before the one after it, in seconds."""
        transport = self._transport or self._connect()
        self._delivery.put_run(transport, self._faults)
        self._tell_address(transport)
        has_sent = self._delivery.send_some(transport, self._faults)
        if has_sent and (is_ending or self._delivery.has_backlog):
            return 0.0
        if is_ending:
            has_time = time.monotonic() < self._at_end_until
            if has_time and self._at_end is not None and self._at_end(transport):
                return 0.0
            if self._end_state is not None:
                self._delivery.send_state(transport, self._end_state, self._faults)
            self.is_delivered = True
            return 0.0
        if self._heartbeat and time.monotonic() >= self._next_heartbeat:
            self._delivery.send_state(transport, "running", self._faults)
            self._next_heartbeat = time.monotonic() + HEARTBEAT_S
        if self._idle is not None and self._idle(transport):
            return 0.0
        return LOOK_S

    def _connect(self) -> Transport:
        """Find the service anew: it may have come back with another port or another token."""
        settings = self._settings
        service: Service | None = find_service(settings.dir, settings.url, settings.token)
        if service is None:
            raise Unreachable("no service is running here, and LOSSBOARD_URL names none")
        transport = Transport(service.url, service.token)
        if not is_proven(service, transport):
            transport.close()
            self._faults.warn(
                "unproven", f"whoever answers at {service.url} does not hold our token; it is not sent there"
            )
            raise Unreachable("unproven", BACKOFF_CAP_S)
        self._delivery.forget_service()
        self._transport = transport
        return transport

    def _disconnect(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def _back_off(self, asked_s: float | None) -> float:
        self._disconnect()
        wait: float = min(BACKOFF_CAP_S, BACKOFF_FIRST_S * 2.0 ** min(self._failures, 10))
        self._failures += 1
        # Jitter from urandom: the script's own random numbers must stay as they were.
        wait *= 0.5 + os.urandom(1)[0] / 511
        return wait if asked_s is None else max(wait, asked_s)

    def _rest(self, pause_s: float, was_ending: bool) -> None:
        if was_ending:
            self._stopped.wait(min(pause_s, BACKOFF_CAP_FINISHING_S))
            return
        until_told = self._started + ABSENT_S - time.monotonic()
        if self.url is None and not self._absence_told and until_told < pause_s:
            self._ending.wait(max(0.0, until_told))
            self._tell_absence()
            pause_s -= max(0.0, until_told)
        self._ending.wait(pause_s)

    def _tell_address(self, transport: Transport) -> None:
        path = self._delivery.run_path
        if path is not None and self.url is None:
            self.url = transport.url + path
            say(f"{self._title} at {self.url}")

    def _tell_absence(self) -> None:
        if self._absence_told or self.url is not None or time.monotonic() - self._started < ABSENT_S:
            return
        self._absence_told = True
        say(f"no service yet; records are kept in {self._kept_in}, `lossboard serve` shows them")
