"""What went wrong without hurting the host: counts by reason, one warning a cause, and the guard."""

import sys
from threading import RLock
from types import TracebackType
from typing import Any


class Faults:
    """The counts and warnings of one run.

    With `strict` everything that would be warned about inside a call of the script is
    raised instead.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        # Reentrant: a signal handler or a finaliser may log while its own thread counts.
        self._lock = RLock()
        self._counts: dict[str, int] = {}
        self._warned: set[str] = set()

    def count(self, reason: str, n: int = 1) -> None:
        """Count `n` losses of one reason."""
        with self._lock:
            self._counts[reason] = self._counts.get(reason, 0) + n

    def counts(self) -> dict[str, int]:
        """Return a copy of the counts by reason."""
        with self._lock:
            return dict(self._counts)

    def warn(self, key: str, message: str) -> None:
        """Say `message` once for each `key`, through the logger `lossboard`."""
        with self._lock:
            if key in self._warned:
                return
            self._warned.add(key)
        try:
            # Late: most runs never warn, and logging is a third of the time of our import.
            import logging

            logging.getLogger("lossboard").warning("lossboard: %s", message)
        except Exception:
            self.count("warning-failed")  # in a handler of the script's own, or the interpreter is ending

    def begin_anew(self) -> None:
        """In a forked child: the parent's counts are the parent's to tell.

        A lock that another of its threads held would stay held, since that thread is not here.
        """
        self._lock = RLock()
        self._counts = {}

    def take(self, key: str, error: Exception, message: str, reason: str) -> None:
        """Raise `error` where strict; otherwise count it under `reason` and warn once."""
        if self.strict:
            raise error
        self.count(reason)
        self.warn(key, message)


class guard:  # noqa: N801 - used like a function: `with guard(run):`
    """Keep an internal fault from the host: count it, warn once; with strict let it through.

    `Exception` only: KeyboardInterrupt and SystemExit belong to the script.
    """

    __slots__ = ("_host",)

    def __init__(self, host: Any) -> None:
        self._host = host  # a run, or whatever else has `_faults` by the time that one happens

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        faults: Faults = self._host._faults
        if faults.strict:
            return False
        faults.count("internal-fault")
        faults.warn(f"internal-{type(error).__name__}", f"internal fault, training goes on: {error!r}")
        return True


def say(line: str) -> None:
    """Print one line to stderr; a script without one, or with one that fails, gets none."""
    stream = sys.stderr
    if stream is not None:
        try:
            stream.write(f"lossboard: {line}\n")
            stream.flush()
        except Exception:
            return  # closed, or an object of the script's own without `flush`: there is nobody to tell
