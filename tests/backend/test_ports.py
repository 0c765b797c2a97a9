"""Taking a port, and what is said when it is taken."""

import os
import socket

import pytest

from lossboard_server.ports import PortError, take_port, url_of


def test_a_free_port_is_found_for_zero():
    with take_port("127.0.0.1", 0) as listener:
        assert listener.getsockname()[1] > 0


def test_the_socket_says_tcp_so_that_asyncio_turns_nagle_off():
    with take_port("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_a_busy_port_names_who_holds_it_and_the_option_that_helps():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        other.settimeout(5)
        port = other.getsockname()[1]
        with pytest.raises(PortError) as refusal:
            take_port("127.0.0.1", port)
    text = str(refusal.value)
    assert f"Port {port} is taken" in text
    assert "lossboard serve --port " in text
    if os.path.exists("/proc/net/tcp"):  # noqa: PTH110 – no path of ours
        assert f"(pid {os.getpid()})" in text


def test_a_host_that_is_not_of_this_machine_is_named():
    with pytest.raises(PortError, match=r"--host 192\.0\.2\.1"):
        take_port("192.0.2.1", 0)


def test_a_host_that_nobody_knows_is_named():
    with pytest.raises(PortError, match=r"--host no such host"):
        take_port("no such host", 0)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:1"),
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("::", "http://127.0.0.1:1"),
        ("::1", "http://[::1]:1"),
        ("gpu1", "http://gpu1:1"),
    ],
)
def test_an_address_reaches_the_service_from_this_machine(host, url):
    assert url_of(host, 1) == url
