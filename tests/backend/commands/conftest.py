"""Folders with a database each, served in this process or worked on by commands while nothing serves it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from lossboard_server.app import create_app
from lossboard_server.cli import main
from lossboard_server.settings import Settings


class Place:
    """One folder of Lossboard's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()

    @contextmanager
    def serving(self) -> Iterator[TestClient]:
        """Serve the folder's database, as long as no command works on it."""
        settings = Settings.resolve({"dir": str(self.folder), "no_token": "true", "readers": "0"}, {})
        with TestClient(create_app(settings), base_url="http://127.0.0.1:8765") as client:
            yield client

    def type(self, *words: str) -> int:
        """Run a command on the folder and return its exit code."""
        return main([*words, "--dir", str(self.folder)])


@pytest.fixture
def make_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Place]:
    """Make folders; no service of whoever runs the tests is found."""
    for name in ("LOSSBOARD_URL", "LOSSBOARD_TOKEN", "LOSSBOARD_DATABASE", "LOSSBOARD_DIR"):
        monkeypatch.delenv(name, raising=False)
    return lambda name: Place(tmp_path / name)


@pytest.fixture
def home(make_place: Callable[[str], Place]) -> Place:
    """Where runs come from."""
    return make_place("home")


@pytest.fixture
def away(make_place: Callable[[str], Place]) -> Place:
    """Where they go."""
    return make_place("away")
