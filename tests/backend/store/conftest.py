"""A store on a database of its own, with one run in it."""

from collections.abc import Iterator

import pytest

from lossboard_server.store.store import Store
from lossboard_server.store.writing.deliveries import RunSpec


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    """Open a store and put the run `r` into it."""
    store = Store(database)
    store.put_run("r", RunSpec()).result(5)
    yield store
    store.close()
