"""What an address tells by itself: whether it is this machine, and whether two are the same place."""

from typing import Final
from urllib.parse import urlsplit

LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "::1")


def is_loopback(url: str) -> bool:
    """Tell whether an address can only be this machine."""
    host = urlsplit(url).hostname or ""
    return host in LOOPBACK_HOSTS or (host.startswith("127.") and host.replace(".", "").isdecimal())


def is_same_place(one: str, other: str) -> bool:
    """Whether two addresses are one: localhost and 127.0.0.1 are, where a token is sent only after proof."""
    if one == other:
        return True
    first, second = urlsplit(one), urlsplit(other)
    is_here = is_loopback(one) and is_loopback(other)
    return is_here and (first.scheme, first.port, first.path) == (second.scheme, second.port, second.path)
