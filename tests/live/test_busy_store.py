"""More than the disk takes: refused with 429 and Retry-After, sent again, and each record is there once."""

import http.client
import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from accounts import Loop, find_disagreements, find_faults
from processes import Service, poll

pytestmark = pytest.mark.live

WRITERS = 360  # at once: more than the queue and the group that is being written take together
REQUESTS = 3  # of each
ROWS = 10  # of each request
HOLD_S = 1.0  # that the disk takes nothing, again and again
FREE_S = 0.1


@contextmanager
def slow_disk(database: Path) -> Iterator[None]:
    """Let another program hold the file most of the time, as a disk that hangs would."""
    is_over = threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(database, isolation_level=None, timeout=20)) as shell:
            while not is_over.wait(FREE_S):
                shell.execute("BEGIN IMMEDIATE")
                is_over.wait(HOLD_S)
                shell.execute("COMMIT")

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


class Sender:
    """A writer as any program could be one: it sends its requests in order, each until it is taken."""

    def __init__(self, service: Service, number: int, statuses: "Counter[int]") -> None:
        self._service, self._number, self._statuses = service, number, statuses

    def send_all(self, is_slow: threading.Event) -> None:
        """Send every request; wait as the service says where it is busy."""
        with closing(http.client.HTTPConnection("127.0.0.1", self._service.port, timeout=60)) as connection:
            for request in range(REQUESTS):
                while not self._send(connection, request * ROWS):
                    is_slow.wait(0.2)

    def _send(self, connection: http.client.HTTPConnection, first: int) -> bool:
        index = list(range(first, first + ROWS))
        columns = {"epoch": [self._number] * ROWS, "batch": index, "index": index, "batch_size": [4] * ROWS}
        columns["loss"] = [float(self._number * 10**6 + row) for row in index]  # type: ignore[misc]
        body = {"writer": f"w{self._number}", "seq": first, "series": {"train/loss": columns}}
        headers = {"Authorization": f"Bearer {self._service.token}", "Content-Type": "application/json"}
        try:
            connection.request("POST", "/api/v1/runs/r/records", json.dumps(body), headers)
            answer = connection.getresponse()
            said = json.loads(answer.read())
        except (OSError, http.client.HTTPException):
            connection.close()
            return False
        self._statuses[answer.status] += 1
        if answer.status == 429:
            assert answer.headers["Retry-After"] == "1"
            assert said["code"] == "busy"
            return False
        assert (answer.status, said["next"]) == (200, first + ROWS), said
        return True


def test_more_writers_than_the_queue_takes_lose_nothing_on_a_slow_disk(service: Service) -> None:
    service.send("PUT", "/api/v1/runs/r", {})
    database = service.folder / "lossboard.db"
    statuses: Counter[int] = Counter()
    is_slow = threading.Event()
    senders = [Sender(service, number, statuses) for number in range(WRITERS)]
    threads = [threading.Thread(target=sender.send_all, args=(is_slow,)) for sender in senders]
    loop = Loop(service.folder, WRITERS)
    try:
        with slow_disk(database):
            for thread in threads:
                thread.start()
            poll(lambda: statuses[429] > 0, "a full queue")
        for thread in threads:
            thread.join(60)
        about = loop.end()
    finally:
        loop.kill()
        is_slow.set()
    print(statuses)
    assert statuses[200] == WRITERS * REQUESTS
    assert about["dropped"] == {}
    poll(lambda: not find_faults(database, {WRITERS: loop.logged()}), "the loop's last records")
    logged = dict.fromkeys(range(WRITERS), ROWS * REQUESTS)
    assert find_faults(database, logged) == []
    assert find_disagreements(database) == []
    assert "Traceback" not in service.log
