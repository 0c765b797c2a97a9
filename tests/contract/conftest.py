"""One real service on either database for the tests that hold client and service to each other."""

from collections.abc import Iterator

import pytest

from postgres_server import PostgresServer
from processes import Service


@pytest.fixture(scope="session", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that the contract tests share; each uses runs of its own."""
    options: tuple[str, ...] = ()
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        options = ("--database", server.create_database("contract"))
    service = Service(tmp_path_factory.mktemp("contract") / "state", options=options)
    try:
        yield service.start()
    finally:
        service.stop()
