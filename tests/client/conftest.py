"""A state folder of its own for each test, a service beside it, and strict runs that are ended."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import lossboard
import processes
from offline import Board
from records_service import RecordsService

RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK")


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the settings or the state folder of who runs it."""
    for name in list(os.environ):
        if name.startswith(("LOSSBOARD_", "SLURM_", "TORCHELASTIC_", "OMPI_")) or name in RANKS:
            monkeypatch.delenv(name)
    monkeypatch.setenv("LOSSBOARD_DIR", str(tmp_path / "state"))


@pytest.fixture
def state_folder(tmp_path: Path) -> Path:
    """What $LOSSBOARD_DIR is in this test."""
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


@pytest.fixture
def absent_service(state_folder: Path) -> Iterator[RecordsService]:
    """A service that a test may start later."""
    service = RecordsService(state_folder)
    yield service
    service.stop()


@pytest.fixture
def service(absent_service: RecordsService) -> RecordsService:
    """A running service, told by its services file."""
    return absent_service.start()


@pytest.fixture
def start_run() -> Iterator[Callable[..., lossboard.Run]]:
    """Start strict runs; what a test leaves open is finished."""
    runs: list[lossboard.Run] = []

    def start(**common: Any) -> lossboard.Run:
        run = lossboard.init(**{"strict": True} | common)
        runs.append(run)
        return run

    yield start
    for run in runs:
        run.finish(deadline_s=5.0)


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    """Starts offline runs and reads them back; they are finished at the end."""
    with closing(Board(tmp_path)) as board:
        yield board


@pytest.fixture
def poll() -> Callable[..., None]:
    """Wait until something holds, with a deadline."""
    return partial(processes.poll, what="what was waited for", timeout_s=10.0)


@pytest.fixture
def warnings_of_lossboard(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the logger `lossboard` was told."""
    caplog.set_level(logging.WARNING, logger="lossboard")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "lossboard"]
