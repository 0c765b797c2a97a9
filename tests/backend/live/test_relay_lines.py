"""The relay without a database: what it tells at once, what it puts together, and how it comes back."""

import socket
from collections.abc import Collection, Iterator
from contextlib import suppress

import pytest

from lossboard_server.domain.changes import Change, SeenRun
from lossboard_server.live.relay import EVERYTHING, Relay
from processes import poll


class Line:
    """A channel in memory; `cut` breaks it as a database does that goes away."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.heard: list[str] = []
        self.is_cut = False
        self._near, self._far = socket.socketpair()

    def fileno(self) -> int:
        return self._near.fileno()

    def ring(self, *texts: str) -> None:
        self.heard += texts
        self._far.send(b"!")

    def cut(self) -> None:
        self.is_cut = True
        self._far.send(b"!")

    def hear(self) -> list[str]:
        if self.is_cut:
            raise OSError("the line is dead")
        with suppress(BlockingIOError):
            self._near.recv(100, socket.MSG_DONTWAIT)
        heard, self.heard = self.heard, []
        return heard

    def tell(self, text: str) -> None:
        self.told.append(text)

    def close(self) -> None:
        self._near.close()
        self._far.close()


class Source:
    """Runs in memory, and the lines that were opened."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.runs: dict[int, SeenRun] = {}
        self.refuses = 0
        self.looks = 0

    def open_channel(self) -> Line:
        if self.refuses:
            self.refuses -= 1
            raise OSError("nobody there")
        self.lines.append(Line())
        return self.lines[-1]

    def read_versions(self) -> dict[int, tuple[str, int]]:
        self.looks += 1
        return {key: (seen.run, seen.version) for key, seen in self.runs.items()}

    def read_runs(self, keys: Collection[int]) -> list[SeenRun]:
        return [self.runs[key] for key in keys if key in self.runs]

    def change(self, key: int, version: int, about: str = "") -> None:
        self.runs[key] = SeenRun(key, f"r{key}", version, frozenset({"train/loss"}), about)


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def told() -> list[Change]:
    return []


@pytest.fixture
def relay(source: Source, told: list[Change]) -> Iterator[Relay]:
    relay = Relay(told.extend)
    relay.start(source)
    poll(lambda: source.looks, "the first look")
    yield relay
    relay.close()


def test_viewers_here_hear_before_anybody_elsewhere(relay: Relay, source: Source, told: list[Change]) -> None:
    relay.tell([Change("r1", {"train/loss"}, 2, key=1)])
    assert [change.version for change in told] == [2]
    poll(lambda: source.lines[0].told == ["1"], "the notification")


def test_more_runs_than_a_notification_holds_are_told_as_everything(relay: Relay, source: Source) -> None:
    relay.tell([Change(f"r{key}", version=2, key=key) for key in range(1, 3000)])
    poll(lambda: source.lines[0].told, "the notification")
    assert source.lines[0].told == [EVERYTHING]


def test_everything_makes_the_relay_look_at_all_versions(
    relay: Relay, source: Source, told: list[Change]
) -> None:
    source.change(7, 3)
    source.lines[0].ring(EVERYTHING)
    poll(lambda: told, "the change")
    assert (told[0].run, told[0].version, told[0].series) == ("r7", 3, {"train/loss"})


def test_only_what_a_list_of_runs_shows_is_news_of_the_run(
    relay: Relay, source: Source, told: list[Change]
) -> None:
    for version, about in ((1, "running"), (2, "running"), (3, "finished")):
        source.change(7, version, about)
        source.lines[0].ring("7")
        poll(lambda version=version: told and told[-1].version == version, "the change")
    assert [change.is_about_run for change in told] == [True, False, True]


def test_old_news_is_not_told_again(relay: Relay, source: Source, told: list[Change]) -> None:
    source.change(7, 3)
    source.lines[0].ring("7", "7")
    poll(lambda: told, "the change")
    looks = source.looks
    source.lines[0].ring("7", EVERYTHING)
    poll(lambda: source.looks > looks, "another look")
    assert len(told) == 1


def test_line_that_breaks_is_opened_again_and_what_was_missed_is_told(
    relay: Relay, source: Source, told: list[Change], caplog: pytest.LogCaptureFixture
) -> None:
    source.refuses = 3
    source.change(7, 3)
    source.lines[0].cut()
    relay.tell([Change("r1", version=2, key=1)])
    poll(lambda: len(source.lines) == 2 and source.lines[1].told, "what was to be told meanwhile")
    poll(lambda: [change for change in told if change.run == "r7"], "what was missed")
    assert len(caplog.records) == 1, "one warning an outage"
