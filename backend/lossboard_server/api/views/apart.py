"""The side of a helper process: it opens the database for itself and draws what it is asked for."""

import logging
import signal
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from lossboard_server.store.reader import Reader

Answer = TypeVar("Answer")


def begin(url: str) -> None:
    """Open the database, and leave the end and all words to the service."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal
    logging.getLogger("lossboard_server").addHandler(logging.NullHandler())
    with _open(url).look():
        pass


def work(url: str, draw: Callable[..., Answer], arguments: tuple[object, ...]) -> Answer:
    """Return what `draw` makes of this process's reader and the arguments; raises what it raises."""
    return draw(_open(url), *arguments)


@cache
def _open(url: str) -> Reader:
    return Reader.open(url)
