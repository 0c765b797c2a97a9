"""The thread that looks at the journal every 50 ms and delivers it, with backoff, heartbeat and finish."""

import logging  # noqa: F401 - not used here, but see below
import os
import threading
import time
from collections.abc import Callable
from typing import Final

from lossboard.faults import Faults, say
from lossboard.sending.answers import Refused
from lossboard.sending.delivery import Delivery
from lossboard.sending.discovery import Service, find_service
from lossboard.sending.takeover import Takeover
from lossboard.sending.transport import NotNow, Transport, Unproven, Unreachable
from lossboard.settings import Settings

# Whatever the thread needs is imported at the top, on the script's thread: a fork in the middle of
# an import on ours would leave the module's lock held for ever in the child.

LOOK_S: Final = 0.05  # between two looks at the journal; the hot path signals nobody
# Of one core, what steady records may cost the training: after 1 ms of work, which held the interpreter for
# much of it, 100 ms of rest. A look that finds nothing costs 10 µs, so that the first of few is sent at once.
SHARE: Final = 0.01
PATIENCE: Final = (
    3.0  # of what a request took: a slow service has much to do, and fewer larger ones cost it less
)
MAX_REST_S: Final = 0.5  # whoever watches live waits no longer than that
HEARTBEAT_S: Final = 10.0  # the service calls a run lost after 30 s
BACKOFF_FIRST_S: Final = 0.1
BACKOFF_CAP_S: Final = 5.0
BACKOFF_CAP_ABSENT_S: Final = 1.0  # while no service is to be found: that costs a look at a folder
BACKOFF_CAP_FINISHING_S: Final = 0.2  # of a wait while the script waits for us to end
ALONE_S: Final = 3.0  # what a process that only we keep alive gets for the rest
ABSENT_S: Final = 3.0  # without a service, then one line says so


class Sender:
    """Delivers one writer's records on a daemon thread until it is told to finish.

    When everything own is sent `takeover` sends what dead writers left, a request at a time; what
    the run's own children left goes before its end, in up to half of the time that `finish` has.
    A forked child's sender does neither, says nothing of the run's state and prints nothing. `over` is called
    last, with whether everything was delivered; it may come after `finish` gave up waiting.
    """

    def __init__(
        self,
        delivery: Delivery,
        takeover: Takeover,
        settings: Settings,
        faults: Faults,
        kept_in: str,
        *,
        is_forked: bool,
        over: Callable[[bool], None],
    ) -> None:
        self.url: str | None = None  # the run's page, once a service has taken the run
        self.is_delivered = False  # everything, the end included
        self._delivery = delivery
        self._takeover = takeover
        self._settings = settings
        self._faults = faults
        self._kept_in = kept_in
        self._is_forked = is_forked
        self._until = self._children_until = self._alone_until = 0.0
        self._over = over
        self._transport: Transport | None = None
        self._service: Service | None = None
        self._failures = 0
        self._was_refused = False
        self._trouble = ""  # the last one, in words
        self._next_heartbeat = 0.0
        self._started = time.monotonic()
        self._absence_told = False
        self._end_state = "finished"
        self._ending = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._work, name="lossboard-sender", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def finish(self, state: str, deadline_s: float) -> bool:
        """Let the thread send the rest and how the run ended, and wait for it at most `deadline_s`.

        Returns whether everything was committed.
        """
        self._end_state = state
        self._until = time.monotonic() + deadline_s
        self._children_until = self._until - deadline_s / 2
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
        self._over(self.is_delivered)

    def _deliver(self) -> None:
        while not self._stopped.is_set():
            was_ending = self._ending.is_set()
            try:
                pause = self._step(was_ending)
                self._failures = 0
                self._was_refused = False
            except (Unreachable, Refused) as trouble:
                if was_ending and self._is_hopeless(trouble):
                    break
                pause = self._back_off(trouble, BACKOFF_CAP_FINISHING_S if was_ending else BACKOFF_CAP_S)
            except Exception as error:
                self._faults.count("internal-fault")
                self._faults.warn("sender", f"internal fault of the sender, it goes on: {error!r}")
                self._disconnect()
                pause = BACKOFF_CAP_FINISHING_S if was_ending else BACKOFF_CAP_S
            if self.is_delivered:
                break
            self._tell_absence()
            if self._is_forked and self._end_when_alone():
                break
            self._rest(pause, was_ending)

    def _end_when_alone(self) -> bool:
        """In a forked child: end once nothing but us keeps its process alive; return whether time is up.

        A child that was forked in a thread ends when its last thread does, daemon or not.
        """
        if self._ending.is_set():
            return 0.0 < self._alone_until < time.monotonic()
        if not any(thread.is_alive() and not thread.daemon for thread in threading.enumerate()):
            self._until = self._alone_until = time.monotonic() + ALONE_S
            self._ending.set()
        return False

    def _step(self, is_ending: bool) -> float:
        """Do the next thing and return how long to wait before the one after it, in seconds."""
        transport = self._transport or self._connect()
        self._delivery.put_run(transport)
        self._tell_address(transport)
        if not (self._is_forked or is_ending) and time.monotonic() >= self._next_heartbeat:
            self._beat(transport)
        used_s, took_s = time.thread_time(), time.monotonic()
        has_sent = self._delivery.send_some(transport)
        used_s, took_s = time.thread_time() - used_s, time.monotonic() - took_s
        if has_sent and (is_ending or self._delivery.has_backlog):
            return 0.0
        if is_ending:
            if not self._is_forked:
                has_time = time.monotonic() < self._children_until
                if has_time and self._takeover.send_children(transport):
                    return 0.0
                self._delivery.send_state(transport, self._end_state)
            self.is_delivered = True
            return 0.0
        if not self._is_forked and self._takeover.send_some(transport):
            return 0.0
        return find_rest(used_s, took_s) if has_sent else LOOK_S

    def _beat(self, transport: Transport) -> None:
        """Say that the run is alive: before its records, since those of a long backlog are no sign of it."""
        due, self._next_heartbeat = self._next_heartbeat, time.monotonic() + HEARTBEAT_S
        try:
            self._delivery.send_state(transport, "running")
        except Unreachable:
            self._next_heartbeat = due  # not heard; but one that is refused must not hold up the records
            raise

    def _connect(self) -> Transport:
        """Find the service anew: it may have come back with another port or another token."""
        self._service = self._find_service()
        if self._service is None:
            raise Unreachable("no service is running here, and LOSSBOARD_URL names none")
        transport = Transport(*self._service)
        self._delivery.forget_service()
        self._transport = transport
        return transport

    def _find_service(self) -> Service | None:
        return find_service(self._settings.dir, self._settings.url, self._settings.token)

    def _disconnect(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    def _is_hopeless(self, trouble: Unreachable | Refused) -> bool:
        """Whether to try again can only hold up the exit."""
        if isinstance(trouble, Refused | Unproven):
            return self._was_refused  # and then address and token were read anew
        if trouble.retry_after_s is not None:
            return time.monotonic() + trouble.retry_after_s >= self._until
        return self.url is None and not isinstance(trouble, NotNow)  # nobody was there the whole time

    def _back_off(self, trouble: Unreachable | Refused, cap_s: float) -> float:
        """Let go of a connection that is of no use, and return how long to wait, in seconds."""
        self._trouble = str(trouble)
        # A busy service need not be told again who we are, unless another has taken its place.
        if not isinstance(trouble, NotNow) or self._find_service() != self._service:
            self._disconnect()
        if isinstance(trouble, Refused):
            self._was_refused = True
            self._faults.warn(f"refused-{trouble.answer.status}", f"{trouble}; trying again")
            return _scatter(cap_s)
        if isinstance(trouble, Unproven):
            self._was_refused = True
            self._faults.warn("unproven", str(trouble))
        if self._service is None:
            cap_s = min(cap_s, BACKOFF_CAP_ABSENT_S)
        wait = min(cap_s, BACKOFF_FIRST_S * 2.0 ** min(self._failures, 10))
        self._failures += 1
        return max(_scatter(wait), trouble.retry_after_s or 0.0)

    def _rest(self, pause_s: float, was_ending: bool) -> None:
        if was_ending:
            self._stopped.wait(pause_s)
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
            if not self._is_forked:
                say(f"run {self._settings.name} at {self.url}")

    def _tell_absence(self) -> None:
        if self._absence_told or self._is_forked or self.url is not None:
            return
        if time.monotonic() - self._started < ABSENT_S:
            return
        self._absence_told = True
        if self._settings.url is None:
            say(f"no service yet; records are kept in {self._kept_in}, `lossboard serve` shows them")
        else:
            named = self._settings.url
            say(f"nothing reached {named} yet ({self._trouble}); records are kept in {self._kept_in}")


def find_rest(used_s: float, took_s: float) -> float:
    """Return how long to rest after a request.

    Units: used_s of a core's time and took_s of the clock's, both in seconds.
    """
    return max(LOOK_S, min(max(used_s / SHARE, took_s * PATIENCE), MAX_REST_S))


def _scatter(wait_s: float) -> float:
    """Shorten a wait by up to a half: ranks that lost one service shall not come back as one."""
    # From urandom: the script's own random numbers must stay as they were.
    return wait_s * (0.5 + os.urandom(1)[0] / 510)
