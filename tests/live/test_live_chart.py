"""A record that a training logs is on the chart of an open page at once, without a reload."""

import json
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from processes import Service, poll, start_script

pytestmark = pytest.mark.live

TRAINING = Path(__file__).with_name("training.py")
TIMEOUT_MS = 30_000
RECORDS_FOLLOWED = 8
# The time, in ms, at which one of the page's charts holds this loss.
HOLDS = """(loss) => [...document.querySelectorAll(".js-plotly-plot")].some(
    (plot) => (plot.data ?? []).some((trace) => Array.from(trace.y ?? []).includes(loss))) && Date.now()"""


def test_logged_point_is_on_the_chart_within_a_second(
    service: Service, open_page: Callable[[str], Page], tmp_path: Path
) -> None:
    own = tmp_path / "own.jsonl"
    with charted_training(service, open_page, own, step_s=0.4) as page:
        delays_s = [follow_newest(page, own) for _ in range(RECORDS_FOLLOWED)]
    assert statistics.median(delays_s) < 1.0, delays_s


def test_page_of_a_killed_service_goes_on_by_itself_when_it_is_back(
    service: Service, open_page: Callable[[str], Page], tmp_path: Path
) -> None:
    own = tmp_path / "own.jsonl"
    with charted_training(service, open_page, own, step_s=0.1) as page:
        page.evaluate("window.sameDocument = true")
        service.kill()
        missed = wait_for_another(own)
        service.start()
        page.wait_for_function(HOLDS, arg=missed["loss"], timeout=TIMEOUT_MS, polling="raf")
        assert page.evaluate("window.sameDocument")


@contextmanager
def charted_training(
    service: Service, open_page: Callable[[str], Page], own: Path, *, step_s: float
) -> Iterator[Page]:
    """Train until the first loss is on the page, and hand the page out; the training is ended behind it."""
    told = (str(own), "--epochs", "1", "--step-s", str(step_s))
    training = start_script(TRAINING, service.folder, *told, environment={"LOSSBOARD_RUN_ID": "live"})
    try:
        poll(lambda: records_of(service, "live"), "the first record")
        page = open_page("/?run=live&x=batch&mode=batch")
        page.wait_for_function(HOLDS, arg=read_list(own)[0]["loss"], timeout=TIMEOUT_MS, polling="raf")
        yield page
    finally:
        training.kill()
        training.communicate()


def follow_newest(page: Page, own: Path) -> float:
    """Wait until the chart holds the next record that the training makes; returns the seconds it took."""
    record = wait_for_another(own)
    seen = page.wait_for_function(HOLDS, arg=record["loss"], timeout=TIMEOUT_MS, polling="raf")
    return float(seen.json_value()) / 1e3 - float(record["time_unix_s"])


def wait_for_another(own: Path) -> dict[str, Any]:
    """Wait for a record that is not yet in the training's list."""
    known = len(read_list(own))
    return poll(lambda: read_list(own)[known:], "another record")[-1]


def read_list(own: Path) -> list[dict[str, Any]]:
    """Read the training's own list, a line that is just being written left out."""
    whole = own.read_text(encoding="utf-8").rpartition("\n")[0]
    return [json.loads(line) for line in whole.splitlines()]


def records_of(service: Service, run: str) -> int:
    """Count a run's records, 0 where the run is not known yet."""
    runs = {found["run"]: found["records"] for found in service.get("/api/v1/runs")["runs"]}
    return int(runs.get(run, 0))
