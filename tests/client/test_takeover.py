"""What dead writers left: sent by the next run of this machine, to where it was meant to go."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lossboard
from lossboard.settings import read_settings
from lossboard.takeover import Takeover

StartRun = Callable[..., lossboard.Run]
Poll = Callable[..., None]


def log_some(run: lossboard.Run, count: int) -> None:
    for batch in range(count):
        run.log(0, batch, float(batch), 4)


def test_what_a_dead_writer_left_is_sent_by_the_next_run(
    absent_service: Any, start_run: StartRun, poll: Poll, state_folder: Path
) -> None:
    left = start_run(run="left", project="P1")
    log_some(left, 30)
    left.finish(deadline_s=0.5)
    assert len(list((state_folder / "journal").iterdir())) == 1
    absent_service.start()
    start_run(run="next", project="P2")
    poll(lambda: any(state == "finished" for _, state in absent_service.states))
    assert absent_service.column("index", run="left") == list(range(30))
    poll(lambda: len(list((state_folder / "journal").iterdir())) == 1)


def test_dead_folder_that_cannot_be_cleared_holds_up_nobody(
    absent_service: Any, start_run: StartRun, poll: Poll, state_folder: Path
) -> None:
    left = start_run(run="left")
    log_some(left, 3)
    left.finish(deadline_s=0.5)
    (folder,) = (state_folder / "journal").iterdir()
    (folder / "acked.new" / "in the way").mkdir(parents=True)  # what root can't write either
    absent_service.start()
    following = start_run(run="next")
    poll(lambda: absent_service.column("index", run="left") == [0, 1, 2])
    log_some(following, 3)
    poll(lambda: absent_service.column("index", run="next") == [0, 1, 2], timeout_s=2.0)
    assert following._faults.counts() == {}


def test_records_that_were_meant_for_this_machine_are_not_sent_to_another(tmp_path: Path) -> None:
    def is_meant(url: str | None, address: str | None) -> bool:
        settings = read_settings({"dir": tmp_path, "url": url}, {})
        return Takeover(settings, "mine")._is_meant_for_us(address)

    assert is_meant(None, None)
    assert is_meant("http://localhost:1", None)
    assert is_meant("https://far.example", "https://far.example")
    assert not is_meant("https://far.example", None)
    assert not is_meant(None, "https://far.example")
