"""One real service for the tests that hold client and service to each other."""

from collections.abc import Iterator

import pytest

from processes import Service, running_service


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that the contract tests share; each uses runs of its own."""
    with running_service(tmp_path_factory.mktemp("contract") / "state") as service:
        yield service
