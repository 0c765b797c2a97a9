"""The relay between replicas: of what one has written viewers of the other hear, whatever is lost."""

from collections.abc import Collection, Iterator
from time import monotonic

import pytest

from lossboard.wire import Record
from lossboard_server.domain.blocks import as_blocks
from lossboard_server.domain.changes import Change, SeenRun
from lossboard_server.live import relay as relay_module
from lossboard_server.live.relay import Relay
from lossboard_server.store.elsewhere import CHANNEL, Channel, Elsewhere
from lossboard_server.store.keeping.deleting import mark_deleted
from lossboard_server.store.store import Store
from lossboard_server.store.tables import RunRow
from lossboard_server.store.writing.deliveries import Delivery, RunSpec
from lossboard_server.store.writing.register import find_run
from postgres_server import PostgresServer
from processes import poll

pytestmark = pytest.mark.postgres

TIMEOUT_S = 20.0


class Replica:
    """A store with its relay, and what its viewers were told."""

    def __init__(self, url: str) -> None:
        self.told: list[Change] = []
        self.relay = Relay(self.told.extend)
        self.store = Store(url, self.relay.tell)
        self.source = Looking(self.store)
        self.relay.start(self.source)
        poll(lambda: self.source.looks, "the first look")

    def close(self) -> None:
        self.relay.close()
        self.store.close()

    def heard(self, run: str) -> list[Change]:
        return [change for change in self.told if change.run == run]


class Looking(Elsewhere):
    """Counts its looks at all versions."""

    looks = 0

    def read_versions(self) -> dict[int, tuple[str, int]]:
        found = super().read_versions()
        self.looks += 1
        return found

    def read_runs(self, keys: Collection[int]) -> list[SeenRun]:
        return super().read_runs(keys)

    def open_channel(self) -> Channel:
        return super().open_channel()


@pytest.fixture
def pair(postgres_database: str) -> Iterator[tuple[Replica, Replica]]:
    replicas = Replica(postgres_database), Replica(postgres_database)
    yield replicas
    for replica in replicas:
        replica.close()


def send(replica: Replica, batch: int, series: str = "train/loss") -> None:
    record = Record(series, 0, batch, 1.0, 2, time=1e9)
    replica.store.put_records("r", Delivery(as_blocks([record]))).result(TIMEOUT_S)


def version_of(replica: Replica) -> int:
    with replica.store.reading() as connection:
        return int(find_run(connection, "r").version)


def test_viewers_of_one_replica_hear_what_the_other_wrote(pair: tuple[Replica, Replica]) -> None:
    pair[0].store.put_run("r", RunSpec()).result(TIMEOUT_S)
    made = poll(lambda: pair[1].heard("r"), "the new run")
    assert (made[0].version, made[0].is_about_run) == (1, True)
    began = monotonic()
    send(pair[0], 0)
    (change,) = poll(lambda: [c for c in pair[1].heard("r") if c.version == 2], "the record")
    assert monotonic() - began < relay_module.POLL_INTERVAL_S, "by the notification, not by a look"
    assert (change.series, change.is_about_run) == ({"train/loss"}, False)


def test_a_replica_tells_its_own_changes_once(pair: tuple[Replica, Replica]) -> None:
    pair[0].store.put_run("r", RunSpec()).result(TIMEOUT_S)
    for batch in range(3):
        send(pair[0], batch)
    poll(lambda: [c for c in pair[1].heard("r") if c.version == 4], "the last record elsewhere")
    looks = pair[0].source.looks
    poll(lambda: pair[0].source.looks > looks, "another look")
    assert [change.version for change in pair[0].heard("r")] == [1, 2, 3, 4]


def test_change_that_came_between_two_own_ones_is_told_too(pair: tuple[Replica, Replica]) -> None:
    pair[0].store.put_run("r", RunSpec()).result(TIMEOUT_S)
    poll(lambda: pair[1].heard("r"), "the run elsewhere")
    send(pair[1], 0, "train/theirs")
    send(pair[0], 0, "train/ours")
    poll(
        lambda: [c for c in pair[0].heard("r") if "train/theirs" in c.series],
        "the change of the other replica",
    )


def test_lost_notification_costs_two_seconds(postgres_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Channel, "tell", lambda self, text: None)  # as through a pooler
    replicas = Replica(postgres_database), Replica(postgres_database)
    replicas[0].store.put_run("r", RunSpec()).result(TIMEOUT_S)
    send(replicas[0], 0)
    began = monotonic()
    poll(lambda: [c for c in replicas[1].heard("r") if c.version == 2], "the look at all versions")
    assert monotonic() - began < 2 * relay_module.POLL_INTERVAL_S
    for replica in replicas:
        replica.close()


def test_notifications_are_four_a_second_at_most_and_name_runs_only(
    pair: tuple[Replica, Replica], postgres: PostgresServer
) -> None:
    with postgres.connect("tests") as listener:
        listener.execute(f"LISTEN {CHANNEL}")
        for run in ("r", "other"):
            pair[0].store.put_run(run, RunSpec()).result(TIMEOUT_S)
        began = monotonic()
        for batch in range(150):
            send(pair[0], batch)
        took = monotonic() - began
        last = version_of(pair[0])
        poll(lambda: [c for c in pair[1].heard("r") if c.version == last], "the last record")
        told = [told.payload for told in listener.notifies(timeout=0.1)]
    assert set(" ".join(told).split()) == {"1", "2"}
    assert len(told) <= 4 * took + 3


def test_run_that_is_deleted_elsewhere_is_news(pair: tuple[Replica, Replica]) -> None:
    pair[0].store.put_run("r", RunSpec()).result(TIMEOUT_S)
    poll(lambda: pair[1].heard("r"), "the run elsewhere")

    def remove(connection):  # type: ignore[no-untyped-def]
        row = connection.execute(RunRow.__table__.select()).one()
        return mark_deleted(connection, row, 1e9)

    pair[0].store.write(remove, "r").result(TIMEOUT_S)
    poll(lambda: [c for c in pair[1].heard("r") if c.version == 2 and c.is_about_run], "the end of the run")


def test_events_go_on_when_the_database_cut_the_line(
    pair: tuple[Replica, Replica], postgres: PostgresServer
) -> None:
    pair[0].store.put_run("r", RunSpec()).result(TIMEOUT_S)
    poll(lambda: pair[1].heard("r"), "the run elsewhere")
    with postgres.connect() as other:
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'tests'")
    send(pair[0], 0)
    poll(lambda: [c for c in pair[1].heard("r") if c.version == 2], "the record")
