"""One connection to the service: what is an answer, how long it may take, and who gets the token."""

import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.client import HTTPMessage
from typing import Any

import pytest

from lossboard.sending.transport import (
    GZIP_FROM_BYTES,
    MAX_RETRY_AFTER_S,
    NotNow,
    TimedOut,
    Transport,
    Unproven,
    Unreachable,
    _retry_after_s,
    encode,
)
from records_service import TOKEN, RecordsService

PATH = "/api/v1/runs/A/records"
BEAT = encode({"writer": "w", "records": []})
LARGE = encode({"writer": "w", "records": [], "filling": "x" * GZIP_FROM_BYTES})

Connect = Callable[..., Transport]


@pytest.fixture
def connect(service: RecordsService) -> Iterator[Connect]:
    """Make transports to the service; the run is there already."""
    service.runs.add("A")
    made: list[Transport] = []

    def make(**options: Any) -> Transport:
        made.append(Transport(service.url, TOKEN, **options))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


@pytest.mark.parametrize("fault", ["silent", "trickle"])
def test_request_ends_in_time_however_its_answer_dawdles(
    service: RecordsService, connect: Connect, fault: str
) -> None:
    service.faults.append(fault)
    began = time.monotonic()
    with pytest.raises(TimedOut):
        connect(timeout_s=0.4).request("POST", PATH, BEAT)
    assert 0.3 < time.monotonic() - began < 5.0


@pytest.mark.parametrize("fault", ["garbage", "truncated", "close"])
def test_answer_that_is_none_is_unreachable(service: RecordsService, connect: Connect, fault: str) -> None:
    service.faults += [fault, fault]
    transport = connect()
    with pytest.raises(Unreachable):
        transport.request("POST", PATH, BEAT)
    service.faults.clear()
    assert transport.request("POST", PATH, BEAT).status == 200


def test_refusal_that_was_cut_off_is_no_refusal(service: RecordsService, connect: Connect) -> None:
    service.post = lambda run, body: (422, {"code": "invalid-input", "errors": []})  # type: ignore[method-assign]
    service.faults.append("truncated")
    with pytest.raises(Unreachable):
        connect().request("POST", PATH, BEAT)


def test_connection_is_kept_between_requests(service: RecordsService, connect: Connect) -> None:
    transport = connect()
    for _ in range(5):
        transport.request("POST", PATH, BEAT)
    service.faults.append("503")
    with pytest.raises(NotNow):
        transport.request("POST", PATH, BEAT)
    transport.request("POST", PATH, BEAT)
    assert service.connections == 1


def test_connection_that_the_service_closed_is_opened_again(
    service: RecordsService, connect: Connect
) -> None:
    transport = connect()
    transport.request("POST", PATH, BEAT)
    service.stop()
    service.start()
    assert transport.request("POST", PATH, BEAT).status == 200
    assert len(service.posts) == 2


def test_token_never_goes_to_who_took_over_the_port_meanwhile(
    service: RecordsService, connect: Connect
) -> None:
    transport = connect()
    transport.request("POST", PATH, BEAT)
    service.stop()
    service.holds_token = False
    service.authorizations.clear()
    service.start()
    for _ in range(2):
        with pytest.raises(Unproven):
            transport.request("POST", PATH, BEAT)
    assert set(service.authorizations) == {None}


def test_token_goes_over_no_other_connection_than_the_proven_one(
    service: RecordsService, connect: Connect
) -> None:
    service.closes_after_proof = True
    with pytest.raises(Unreachable):
        connect().request("POST", PATH, BEAT)
    assert set(service.authorizations) == {None}
    assert service.posts == []


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ({"Retry-After": "7"}, 7, 7),
        ({"Retry-After": "1000000"}, MAX_RETRY_AFTER_S, MAX_RETRY_AFTER_S),
        ({"Retry-After": formatdate(time.time() + 3000, usegmt=True)}, MAX_RETRY_AFTER_S, MAX_RETRY_AFTER_S),
        ({"Retry-After": formatdate(time.time() - 3000, usegmt=True)}, 0, 0),
    ],
)
def test_retry_after_is_read_and_capped(
    service: RecordsService, connect: Connect, header: dict[str, str], low: float, high: float
) -> None:
    service.headers = header
    service.faults.append("503")
    with pytest.raises(NotNow) as caught:
        connect().request("POST", PATH, BEAT)
    assert caught.value.retry_after_s is not None
    assert low <= caught.value.retry_after_s <= high


@pytest.mark.parametrize("text", ["", "soon", "-5", "1.5", "٣", "Mon, 99 Foo 2026 00:00:00 GMT"])
def test_retry_after_that_says_nothing_is_left_to_our_own_backoff(
    service: RecordsService, connect: Connect, text: str
) -> None:
    service.headers = {"Retry-After": text.encode().decode("latin-1")}
    service.faults.append("429")
    with pytest.raises(NotNow) as caught:
        connect().request("POST", PATH, BEAT)
    assert caught.value.retry_after_s is None


def test_retry_after_counts_by_the_clock_of_who_said_it() -> None:
    headers = HTTPMessage()
    headers["Date"] = formatdate(1_000_000, usegmt=True)
    headers["Retry-After"] = formatdate(1_000_020, usegmt=True)
    assert _retry_after_s(headers) == 20.0


def test_body_is_gzipped_where_a_network_lies_between(service: RecordsService, connect: Connect) -> None:
    far = connect(is_near=False)
    far.request("POST", PATH, BEAT)
    far.request("POST", PATH, LARGE)
    assert service.encodings == [None, "gzip"]
    assert service.posts[1]["filling"] == "x" * GZIP_FROM_BYTES


def test_body_is_never_gzipped_on_one_machine(service: RecordsService, connect: Connect) -> None:
    connect().request("POST", PATH, LARGE)
    assert service.encodings == [None]


def test_body_goes_plain_once_a_gzipped_one_was_refused(service: RecordsService, connect: Connect) -> None:
    service.faults.append("415")
    far = connect(is_near=False)
    assert far.request("POST", PATH, LARGE).status == 200
    assert far.request("POST", PATH, LARGE).status == 200
    assert service.encodings == ["gzip", None, None]


def test_redirect_is_told_and_not_followed(service: RecordsService, connect: Connect) -> None:
    service.headers = {"Location": "https://elsewhere.example/"}
    service.faults.append("308")
    answer = connect().request("POST", PATH, BEAT)
    assert answer.status == 308
    assert "elsewhere.example" in answer.body["detail"]


def test_proxy_of_the_environment_is_not_asked(
    service: RecordsService, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert connect().request("POST", PATH, BEAT).status == 200


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70, "127.0.0.1:1"])
def test_host_that_is_not_there_is_unreachable(host: str) -> None:
    with pytest.raises(Unreachable):
        Transport(f"http://{host}", None, timeout_s=5.0).request("GET", "/healthz")
