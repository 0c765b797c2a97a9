"""A service in this process on a database of its own, for the tests of its parts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from living_runs import World
from lossboard_server.app import create_app
from lossboard_server.settings import Settings

BASE_URL = "http://127.0.0.1:8765"
SEED = (4, 5, 2, 4, 3, 2, 3, 1)
# Long, and about what is made of the rows rather than how they are stored: on PostgreSQL in `make soak`.
LONG = frozenset(
    f"test_{name}.py"
    for name in (
        *("arrival", "clock_jumps", "encodings", "explain", "following", "hidden", "intake"),
        *("passes", "ranges", "run_life", "run_writers"),
    )
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to the soak what is long and of which another database tells little that is new."""
    for item in items:
        if item.path.name in LONG and item.get_closest_marker("postgres"):
            item.add_marker(pytest.mark.soak)


def make_settings(folder: Path, database: str) -> Settings:
    """Return those of a service without a token, which draws by itself."""
    given = {"dir": str(folder), "database": database, "no_token": "true", "readers": "0"}
    return Settings.resolve(given, {})


@pytest.fixture
def service(tmp_path: Path, database: str) -> Iterator[TestClient]:
    """Serve an empty database without a token."""
    settings = make_settings(tmp_path, database)
    with TestClient(create_app(settings), base_url=BASE_URL) as client:
        yield client


@pytest.fixture
def world(tmp_path: Path, database: str) -> Iterator[World]:
    """Serve the same by a clock that the test holds."""
    world = World()
    settings = make_settings(tmp_path, database)
    with TestClient(create_app(settings, lambda: world.now), base_url=BASE_URL) as client:
        world.service = client
        yield world


@pytest.fixture
def run(service: TestClient) -> str:
    """Make a run and return its path below the API."""
    assert service.put("/api/v1/runs/r1", json={}).status_code == 201
    return "/api/v1/runs/r1"


def seed_rows(batch_size: int, **more: Any) -> list[dict[str, Any]]:
    """Return the seed's eight items as the rows that a person types."""
    rows = []
    for batch, first in enumerate(range(0, 8, batch_size)):
        part = SEED[first : first + batch_size]
        rows.append(
            {"epoch": 0, "batch": batch, "loss": sum(part) / len(part), "batch_size": len(part), **more}
        )
    return rows


@pytest.fixture
def make_seed_rows() -> Any:
    """Return `seed_rows`, for tests in other folders."""
    return seed_rows
