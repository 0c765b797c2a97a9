"""What holds for the whole suite, and the databases that its tests run on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from postgres_server import PostgresServer, find_programs, running_postgres, why_not
from processes import Service, Spares

# A loaded machine is slow, not wrong: no property fails by its time. An example that failed is replayed
# from what was printed, since a clean checkout has no database of examples.
settings.register_profile("suite", deadline=None, print_blob=True)
settings.load_profile("suite")

DATABASE = "tests"
_LEFT_OUT = pytest.StashKey[int]()


def pytest_report_header() -> str:
    """Say whether the tests on PostgreSQL run."""
    missing = why_not()
    return f"PostgreSQL: {missing or find_programs()}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs PostgreSQL where there is none: hundreds of skips would hide the others."""
    if not why_not():
        return
    left_out = [item for item in items if item.get_closest_marker("postgres")]
    items[:] = [item for item in items if item not in left_out]
    config.stash[_LEFT_OUT] = len(left_out)
    config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say once more, where it is read, how much was left out."""
    if number := config.stash.get(_LEFT_OUT, 0):
        terminalreporter.write_line(f"{number} tests on PostgreSQL did not run: {why_not()}.")


@pytest.fixture(scope="session")
def spares(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spares]:
    """Real services that start while other tests run."""
    spares = Spares(lambda: tmp_path_factory.mktemp("service") / "state")
    yield spares
    spares.close()


@pytest.fixture
def service(spares: Spares) -> Iterator[Service]:
    """A real service on an empty folder."""
    with spares.take() as service:
        yield service


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for all tests; each makes databases of its own, or takes `postgres_database`."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def _postgres_tables(postgres: PostgresServer) -> str:
    from lossboard_server.store.store import Store

    url = postgres.create_database(DATABASE)
    Store(url).close()
    return url


@pytest.fixture
def postgres_database(postgres: PostgresServer, _postgres_tables: str) -> Iterator[str]:
    """A PostgreSQL database that is empty at the start of this test: its URL."""
    yield _postgres_tables
    # Emptied, not made anew: that took 0.15 s a test, this takes 4 ms.
    postgres.empty_database(DATABASE)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of this test's own, of either kind: its URL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'lossboard.db'}"
    return str(request.getfixturevalue("postgres_database"))
