"""Where a resumed attempt starts: told by an argument, an epoch that is set, or the first record."""

from collections.abc import Callable
from pathlib import Path

import lossboard
from lossboard.journal.reading import read_manifest

StartRun = Callable[..., lossboard.Run]


def test_resumed_run_takes_its_start_from_the_first_epoch_set(
    start_run: StartRun, state_folder: Path
) -> None:
    run = start_run(mode="offline", run="A", resume=True)
    run.epoch = 4
    run.log({"loss": 1.0})
    run.epoch = 5
    (folder,) = (state_folder / "journal").iterdir()
    attempt = read_manifest(folder)["attempt"]
    assert (attempt["resumed"], attempt["start_epoch"]) == (True, 4)


def test_resumed_run_takes_its_start_from_the_first_record_that_says_where_it_stands(
    start_run: StartRun, state_folder: Path, warnings_of_lossboard: Callable[[], list[str]]
) -> None:
    run = start_run(mode="offline", run="A", resume=True)
    for batch in range(40, 43):
        run.log(5, batch, 1.0, 8)
    (folder,) = (state_folder / "journal").iterdir()
    attempt = read_manifest(folder)["attempt"]
    assert (attempt["start_epoch"], attempt["start_batch"]) == (5, 40)
    assert warnings_of_lossboard() == []


def test_resumed_run_that_says_no_start_is_warned_once(
    start_run: StartRun, state_folder: Path, warnings_of_lossboard: Callable[[], list[str]]
) -> None:
    run = start_run(mode="offline", run="A", resume=True)
    run.log({"loss": 1.0})
    run.log({"loss": 2.0})
    (warning,) = warnings_of_lossboard()
    assert "start_epoch=" in warning
