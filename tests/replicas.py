"""Several services on one PostgreSQL behind a balancer that asks them in turn."""

import http.client
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from faulty_line import FaultyLine
from lossboard_server.store.checks.checking import check_run, list_runs
from lossboard_server.store.database import open_engine
from postgres_server import PostgresServer
from processes import Service

TOKEN = "one-token-for-all-replicas"


class Balancer(FaultyLine):
    """Sends each request to the next replica, and where that one breaks off the same request to another."""

    def __init__(self, ports: list[int]) -> None:
        super().__init__(ports[0])
        self._ports = ports
        self._turns = count()
        self._lock = threading.Lock()
        self.asked: Counter[int] = Counter()

    def forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Ask one replica, else another. Raises: OSError where none answers."""
        with self._lock:
            turn = next(self._turns)
        failure: Exception = OSError("there is no replica")
        for port in (self._ports[(turn + number) % len(self._ports)] for number in range(len(self._ports))):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                connection.request(method, path, body or None, headers)
                answer = connection.getresponse()
                self.asked[port] += method == "POST"
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException) as error:
                failure = error  # it may have stored it: whoever asks next must not store it again
            finally:
                connection.close()
        raise failure


class Replicas:
    """Two services, their balancer and their database."""

    def __init__(self, services: list[Service], line: Balancer, url: str, postgres: PostgresServer) -> None:
        self.services = services
        self.line = line
        self.database = url
        self.postgres = postgres

    @property
    def environment(self) -> dict[str, str]:
        """What a training is told."""
        return {"LOSSBOARD_URL": self.line.url, "LOSSBOARD_TOKEN": TOKEN}

    def count_rows(self, epoch: int) -> int:
        """Count the records of one start of a loop."""
        with self.postgres.connect("replicas") as connection:
            found = connection.execute("SELECT count(*) FROM records WHERE epoch = %s", (epoch,)).fetchone()
            assert found is not None
            return int(found[0])

    def find_faults(self, logged: dict[int, int]) -> list[str]:
        """Say what is missing of these loops or there twice, and which summaries differ from their rows."""
        faults = []
        query = "SELECT batch, loss FROM records WHERE epoch = %s ORDER BY batch, call"
        with self.postgres.connect("replicas") as connection:
            for epoch, records in logged.items():
                found = connection.execute(query, (epoch,)).fetchall()
                if found != [(batch, float(epoch * 10**6 + batch)) for batch in range(records)]:
                    faults.append(
                        f"of {records} of loop {epoch} there are {len(found)}: {found[:3]}…{found[-3:]}"
                    )
        engine = open_engine(self.database)
        with engine.connect() as reading, reading.begin():
            for run in list_runs(reading):
                faults += [finding.what for finding in check_run(reading, run.key, lambda _: None)]
        engine.dispose()
        return faults


@contextmanager
def running_replicas(postgres: PostgresServer, folder: Path, replicas: int = 2) -> Iterator[Replicas]:
    """Start them on an empty database of a running server."""
    url = postgres.create_database("replicas")
    services: list[Service] = []
    line = None
    try:
        for number in range(replicas):
            own = folder / f"replica{number}"
            own.mkdir(parents=True)
            (own / "token").write_text(TOKEN)
            (own / "token").chmod(0o600)
            services.append(Service(own, options=("--database", url)).start())
        line = Balancer([service.port for service in services])
        yield Replicas(services, line, url, postgres)
    finally:
        if line is not None:
            line.stop()
        for service in services:
            service.stop()
        if postgres.is_running:
            postgres.drop_database("replicas")
