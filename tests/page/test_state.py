"""How the page tells a run's state: six words and marks, what they mean, and when it no longer knows."""

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from processes import Service, poll

pytestmark = pytest.mark.page

OpenPage = Callable[[str], Page]
PHONE = {"width": 390, "height": 844}
STATES = ("running", "stalled", "lost", "finished", "failed", "killed")


class Training:
    """One process that trains a run of its own name, told over HTTP as its client does."""

    def __init__(self, service: Service, run: str, *, oldest_s: float, newest_s: float) -> None:
        self._service, self._path = service, f"/api/v1/runs/{run}"
        started = time.time() - oldest_s
        self.head = {"writer": f"w-{run}", "attempt": started, "rank": 0}
        service.send("PUT", self._path, {"attempt": {"started_unix_s": started}})
        step = (oldest_s - newest_s) / 39
        self.log(*(oldest_s - step * i for i in range(40)))

    def log(self, *ages_s: float) -> None:
        """Send the records of one epoch, logged so many seconds ago."""
        now, size = time.time(), len(ages_s)
        columns = {
            "epoch": [0] * size,
            "batch": list(range(size)),
            "loss": [1 / (i + 1) for i in range(size)],
            "batch_size": [10] * size,
            "index": list(range(size)),
            "time": [now - age for age in ages_s],
        }
        self._send({"seq": 0, "sent": now, "series": {"train/loss": columns}})

    def tell(self, state: str) -> "Training":
        """Send a heartbeat or an end."""
        self._send({"records": [], "state": state})
        return self

    def _send(self, body: dict[str, Any]) -> None:
        self._service.send("POST", f"{self._path}/records", self.head | body)


@pytest.fixture
def six(service: Service) -> Service:
    """A service with a run in each state; nothing waits, since a record is as old as it says."""
    for state in STATES:
        training = Training(service, state, oldest_s=1200, newest_s=2 if state == "running" else 600)
        if state != "lost":
            training.tell("running" if state == "stalled" else state)
    return service


def row_of(page: Page, run: str) -> Any:
    """Find a run's row in the list."""
    return page.locator(f'#run-list li[data-run="{run}"]')


@pytest.mark.usefixtures("six")
def test_each_state_has_a_word_a_mark_of_its_own_and_the_age_of_the_last_record(open_page: OpenPage) -> None:
    page = open_page("/?run=running")
    marks = set()
    for state in STATES:
        expect(row_of(page, state).locator(".run-state")).to_have_text(state)
        expect(page.get_by_role("checkbox", name=f"{state}, {state}")).to_be_attached()
        marks.add(row_of(page, state).locator(".mark path").get_attribute("d"))
        age = "10 min" if state != "running" else " s"
        expect(row_of(page, state).locator(".run-age")).to_contain_text(age)
    assert len(marks) == len(STATES)


@pytest.mark.parametrize(
    ("state", "means"),
    [
        ("running", "Last record"),
        ("stalled", "It lives, but no record for 10 min; usual interval 15 s."),
        ("lost", "No sign of life for 10 min"),
        ("finished", "Last record 10 min ago."),
        ("failed", "It ended with an error."),
        ("killed", "Its process is gone without having said goodbye."),
    ],
)
@pytest.mark.usefixtures("six")
def test_header_says_what_the_state_means(open_page: OpenPage, state: str, means: str) -> None:
    page = open_page(f"/?run={state}")
    status = page.locator("#status")
    expect(status.locator(".run-state")).to_have_text(state)
    expect(status).to_contain_text(means)
    expect(row_of(page, state).locator(".state")).to_have_attribute("title", status_text(page))


def status_text(page: Page) -> str:
    """Return the header's sentence."""
    return str(page.locator("#status .status-say").text_content())


@pytest.mark.usefixtures("six")
def test_header_of_several_runs_begins_with_those_in_trouble(open_page: OpenPage) -> None:
    page = open_page("/?" + "&".join(f"run={state}" for state in STATES))
    words = page.locator("#status .run-state")
    expect(words).to_have_text(["failed", "killed", "lost", "stalled"])
    expect(page.locator("#status")).to_contain_text("and 2 more")


def test_run_becomes_lost_on_an_open_page_by_time_alone(
    service: Service, context: BrowserContext, open_page: OpenPage
) -> None:
    asked: list[str] = []
    context.on("request", lambda sent: asked.append(sent.url) if "/api/v1/runs" in sent.url else None)
    training = Training(service, "fading", oldest_s=600, newest_s=24)
    page = open_page("/?run=fading")
    page.evaluate("window.sameDocument = true")
    expect(page.locator("#status .run-state")).to_have_text("running")
    expect(page.locator('html[data-connection="live"]')).to_have_count(1)
    page.wait_for_load_state("networkidle")
    asked.clear()
    for word in (page.locator("#status .run-state"), row_of(page, "fading").locator(".run-state")):
        expect(word).to_have_text("lost", timeout=20_000)
    assert 1 <= len(asked) <= 6, asked
    training.tell("running")
    expect(page.locator("#status .run-state")).to_have_text("running")
    training.tell("killed")
    expect(page.locator("#status .run-state")).to_have_text("killed")
    assert page.evaluate("window.sameDocument")


@pytest.mark.usefixtures("six")
def test_page_without_the_service_claims_no_living_state(service: Service, open_page: OpenPage) -> None:
    page = open_page("/?run=running&run=finished")
    expect(row_of(page, "running").locator(".run-state")).to_have_text("running")
    service.kill()
    for state in ("running", "stalled", "lost"):
        expect(row_of(page, state).locator(".run-state")).to_have_text(f"was {state}")
    for state in ("finished", "failed", "killed"):
        expect(row_of(page, state).locator(".run-state")).to_have_text(state)
    said = row_of(page, "running").locator(".state")
    expect(said).to_have_attribute("title", re.compile("^Running when last heard of, "))
    service.start()
    expect(row_of(page, "lost").locator(".run-state")).to_have_text("lost")


def test_answer_too_old_to_be_true_claims_nothing(
    service: Service, context: BrowserContext, open_page: OpenPage
) -> None:
    Training(service, "old", oldest_s=600, newest_s=1).tell("running")
    page = context.new_page()
    page.clock.install()
    page.goto(service.login_link("/?run=old"))
    word = page.locator("#status .run-state")
    expect(word).to_have_text("running")
    context.route("**/api/v1/runs**", lambda route: None)  # an answer that never comes

    def is_too_old() -> bool:
        page.clock.fast_forward(70_000)  # again where an answer was under way
        return word.text_content() == "was running"

    poll(is_too_old, "the end of the claim")


def test_ranks_in_trouble_are_told_beside_those_that_run(service: Service, open_page: OpenPage) -> None:
    first = Training(service, "ranks", oldest_s=600, newest_s=1).tell("running")
    head = first.head | {"writer": "w2", "rank": 1}
    service.send("POST", "/api/v1/runs/ranks/records", head | {"records": [], "state": "killed"})
    page = open_page("/?run=ranks")
    expect(page.locator("#status")).to_contain_text("Of 2 ranks 1 killed.")
    expect(page.locator("#status .run-state")).to_have_text("running")


@pytest.mark.usefixtures("six")
def test_phone_shows_the_state_without_opening_the_list(open_page: OpenPage) -> None:
    page = open_page("/?" + "&".join(f"run={state}" for state in STATES))
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    expect(page.locator("#run-list")).to_be_hidden()
    expect(page.locator("#status .run-state").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
