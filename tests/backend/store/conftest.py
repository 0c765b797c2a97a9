"""A store on a database of its own, with one run in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lossboard_server.store.deliveries import RunSpec
from lossboard_server.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Open a store and put the run `r` into it."""
    store = Store(f"sqlite:///{tmp_path / 's.db'}")
    store.put_run("r", RunSpec()).result(5)
    yield store
    store.close()
