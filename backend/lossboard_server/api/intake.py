"""How much of what is being sent the service holds at once: bodies on their way into the store, in bytes."""

from typing import Final

from lossboard_server.errors import Busy

# A record has some 90 bytes as JSON and 230 once it is decoded: the writer's whole queue of the largest
# requests would be 2.8 GB, and this keeps it at some 170 MB. 120 of our client's largest fit in.
MAX_HELD_BYTES: Final = 48 * 2**20


class Intake:
    """Counts the bytes of requests from their first until they are answered."""

    def __init__(self, limit_bytes: int = MAX_HELD_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0
        self.refused = 0

    def hold(self) -> "Held":
        """Begin to count for one request; `with` ends it."""
        return Held(self)


class Held:
    """What one request holds."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._bytes = 0

    def grow_to(self, size: int) -> None:
        """Hold this many bytes in all; a request that is alone may hold whatever a request may have.

        Raises: Busy where others hold too much for it.
        """
        intake, more = self._intake, size - self._bytes
        if more <= 0:
            return
        if intake.held_bytes + more > intake.limit_bytes and intake.held_bytes > self._bytes:
            intake.refused += 1
            detail = "More is coming in than the service can hold. Nothing was stored; send it again."
            raise Busy(detail, headers={"Retry-After": "1"})
        intake.held_bytes += more
        self._bytes = size

    def __enter__(self) -> "Held":
        """Count from here on."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of what was held."""
        self._intake.held_bytes -= self._bytes
        self._bytes = 0
