"""What each way of saying no costs: the record that is bad, and never one that might be taken later."""

import time
from collections.abc import Callable
from typing import Any

import pytest

import lossboard
from lossboard.faults import Faults
from lossboard.journal.reading import Series
from lossboard.journal.slots import Stored
from lossboard.sending import sender
from lossboard.sending.delivery import Delivery
from lossboard.sending.transport import Transport, Unreachable
from records_service import TOKEN

StartRun = Callable[..., lossboard.Run]
Poll = Callable[..., None]


class Records:
    """A source of `count` records, read and acknowledged like a journal."""

    def __init__(self, count: int) -> None:
        self.writer = "w"
        self.series = [Series("train/loss", "mean", "items", "exact")]
        self.traits: dict[str, dict[str, Any]] = {}
        self.acknowledged: list[int] = []
        self.waiting = [(index, _record(index)) for index in range(count)]

    def read(self, limit: int) -> list[Any]:
        taken, self.waiting = self.waiting[:limit], self.waiting[limit:]
        return taken

    def acknowledge(self, upto: int) -> None:
        self.acknowledged.append(upto)

    def rewind(self, to: int) -> None:
        assert to >= 0  # nothing is read again


def _record(index: int) -> Stored:
    values = dict.fromkeys(Stored._fields)
    values |= {
        "series": 0,
        "epoch": 0,
        "batch": index,
        "loss": 1.0,
        "batch_size": 4,
        "time": 1e9,
        "pass_no": 0,
    }
    return Stored(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "status", ["301", "308", "400", "401", "403", "404", "405", "409", "410", "415", "422"]
)
def test_status_that_names_no_row_of_ours_costs_no_record(
    service: Any, start_run: StartRun, poll: Poll, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    monkeypatch.setattr(sender, "BACKOFF_CAP_S", 0.1)
    run = start_run(strict=False)
    poll(lambda: service.states)
    service.faults += [status] * 3
    run.log(0, 0, 1.0, 4)
    poll(lambda: service.rows)
    run.finish()
    assert service.column("index") == [0]
    assert service.dropped == {run._outlet.writer._journal.writer: {}}  # type: ignore[union-attr]


def test_refusal_is_warned_of_once_and_address_and_token_are_read_anew(
    service: Any,
    start_run: StartRun,
    poll: Poll,
    monkeypatch: pytest.MonkeyPatch,
    warnings_of_lossboard: Callable[[], list[str]],
) -> None:
    monkeypatch.setattr(sender, "BACKOFF_CAP_S", 0.1)
    run = start_run(strict=False)
    poll(lambda: service.states)
    service.faults += ["403"] * 4
    run.log(0, 0, 1.0, 4)
    poll(lambda: service.rows)
    assert len([line for line in warnings_of_lossboard() if "403" in line]) == 1
    assert service.connections >= 5


def test_answer_of_another_service_acknowledges_nothing(
    service: Any, start_run: StartRun, poll: Poll
) -> None:
    run = start_run()
    poll(lambda: service.states)
    service.faults += ["foreign"] * 3
    for batch in range(20):
        run.log(0, batch, 1.0, 4)
    run.finish(deadline_s=10.0)
    assert service.column("index") == list(range(20))


@pytest.mark.parametrize("told", [None, "7", 6, -1, True, 7.0])
def test_only_a_next_that_covers_what_was_sent_moves_the_mark(service: Any, told: object) -> None:
    source = Records(7)
    delivery = Delivery(source, Faults(), "A", 1.0, 0, dict)
    transport = Transport(service.url, TOKEN)
    accept = service.post
    service.post = lambda run, body: (200, accept(run, body)[1] | {"next": told})
    with pytest.raises(Unreachable):
        delivery.send_some(transport)
    assert source.acknowledged == []
    service.post = accept
    assert delivery.send_some(transport)
    assert source.acknowledged == [7]
    assert service.duplicates == 7
    transport.close()


def test_next_beyond_what_was_sent_acknowledges_what_was_sent_and_no_more(service: Any) -> None:
    source = Records(7)
    transport = Transport(service.url, TOKEN)
    accept = service.post
    service.post = lambda run, body: (200, accept(run, body)[1] | {"next": 2**40})
    Delivery(source, Faults(), "A", 1.0, 0, dict).send_some(transport)
    assert source.acknowledged == [7]
    transport.close()


def test_service_that_was_restored_from_a_backup_gets_again_what_the_journal_still_has(
    service: Any, start_run: StartRun, poll: Poll, warnings_of_lossboard: Callable[[], list[str]]
) -> None:
    run = start_run()
    for batch in range(10):
        run.log(0, batch, 1.0, 4)
    poll(lambda: len(service.rows) == 10)
    service.stop()
    service.go_back(4)
    service.start()
    for batch in range(10, 13):
        run.log(0, batch, 1.0, 4)
        poll(lambda last=batch: len(service.rows) == last + 1)
        service.stop()
        service.start()
    run.finish()
    assert service.column("index") == list(range(13))
    assert run._faults.counts() == {}
    assert len([line for line in warnings_of_lossboard() if "no longer has 6 records" in line]) == 1


@pytest.mark.parametrize("forgets_run", [False, True])
def test_service_that_is_found_behind_at_the_end_gets_the_rest_before_the_end(
    service: Any, start_run: StartRun, poll: Poll, forgets_run: bool
) -> None:
    run = start_run()
    for batch in range(10):
        run.log(0, batch, 1.0, 4)
    poll(lambda: len(service.rows) == 10)
    service.go_back(0)
    if forgets_run:
        service.runs.clear()
    run.finish()
    assert service.column("index") == list(range(10))
    assert service.states[-1][1] == "finished"


def test_what_a_service_lost_and_the_journal_no_longer_has_is_counted_once(service: Any) -> None:
    source, faults = Records(10), Faults()
    delivery = Delivery(source, faults, "A", 1.0, 0, dict)
    transport = Transport(service.url, TOKEN)
    delivery.send_some(transport)
    service.go_back(4)
    for state in ("running", "running", "finished"):
        delivery.send_state(transport, state)
    assert faults.counts() == {"lost-by-service": 6}
    transport.close()


def test_request_that_takes_too_long_is_halved_until_it_passes(service: Any) -> None:
    source = Records(8)
    delivery = Delivery(source, Faults(), "A", 1.0, 0, dict)
    delivery.rest_s = 0.0
    transport = Transport(service.url, TOKEN, timeout_s=0.3)
    accept = service.post

    def take_slowly(run: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if len(body.get("series", {}).get("train/loss", {}).get("index", ())) > 2:
            service.is_over.wait(0.6)
            return 503, {}
        return accept(run, body)  # type: ignore[no-any-return]

    service.post = take_slowly
    deadline = time.monotonic() + 20
    while source.acknowledged[-1:] != [8]:
        assert time.monotonic() < deadline
        try:
            delivery.send_some(transport)
        except Unreachable:
            continue
    assert service.column("index") == list(range(8))
    transport.close()


def test_busy_service_is_not_told_again_who_we_are(service: Any, start_run: StartRun, poll: Poll) -> None:
    run = start_run()
    run.log(0, 0, 1.0, 4)
    poll(lambda: service.rows)
    puts, connections = len(service.puts), service.connections
    service.faults += ["503", "429", "500"]
    run.log(0, 1, 1.0, 4)
    poll(lambda: len(service.rows) == 2)
    assert (len(service.puts), service.connections) == (puts, connections)


def test_exit_does_not_wait_for_a_service_that_asks_for_longer_than_there_is(
    service: Any, start_run: StartRun, poll: Poll
) -> None:
    run = start_run()
    poll(lambda: service.states)
    service.headers = {"Retry-After": "30"}
    service.faults += ["503"] * 50
    run.log(0, 0, 1.0, 4)
    began = time.monotonic()
    run.finish(deadline_s=20.0)
    assert time.monotonic() - began < 10.0
    assert len(service.faults) >= 47, "it was asked again in spite of its answer"


def test_exit_waits_as_long_as_the_service_asks_where_there_is_time(
    service: Any, start_run: StartRun
) -> None:
    service.headers = {"Retry-After": "1"}
    service.faults += ["503"]
    run = start_run()
    run.log(0, 0, 1.0, 4)
    run.finish(deadline_s=20.0)
    assert len(service.rows) == 1


def test_exit_does_not_wait_for_a_service_that_refuses_us(
    service: Any, start_run: StartRun, poll: Poll
) -> None:
    run = start_run()
    run.log(0, 0, 1.0, 4)
    poll(lambda: service.rows)
    service.token = TOKEN + " of another day"  # and the services file still tells the old one
    run.log(0, 1, 1.0, 4)
    began = time.monotonic()
    run.finish(deadline_s=20.0)
    assert time.monotonic() - began < 10.0


def test_exit_does_not_wait_for_a_stranger_at_the_port(service: Any, start_run: StartRun, poll: Poll) -> None:
    run = start_run()
    run.log(0, 0, 1.0, 4)
    poll(lambda: service.rows)
    service.stop()
    service.holds_token = False
    service.start()
    run.log(0, 1, 1.0, 4)
    began = time.monotonic()
    run.finish(deadline_s=20.0)
    assert time.monotonic() - began < 10.0


def test_times_are_those_of_log_and_not_of_the_delivery(
    absent_service: Any, start_run: StartRun, poll: Poll
) -> None:
    run = start_run()
    moments = []
    for batch in range(50):
        before = time.time()
        run.log(0, batch, 1.0, 4)
        moments.append((before, time.time()))
    sent_after = time.time() + 0.3
    poll(lambda: time.time() > sent_after)
    absent_service.start()
    run.finish(deadline_s=10.0)
    times = absent_service.column("time")
    assert len(times) == 50
    assert all(before <= at <= after for (before, after), at in zip(moments, times, strict=True))


def test_named_service_that_does_not_answer_is_told_of_with_the_reason(
    absent_service: Any,
    start_run: StartRun,
    poll: Poll,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sender, "ABSENT_S", 0.2)
    start_run(url="http://127.0.0.1:9")
    heard: list[str] = []
    poll(lambda: heard.append(capsys.readouterr().err) or "nothing reached" in "".join(heard))
    assert "nothing reached http://127.0.0.1:9 yet (ConnectionRefusedError" in "".join(heard)
