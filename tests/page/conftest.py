"""A real service in a process of its own and a real browser before it, for the tests of the page."""

import math
import random
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from processes import Service, browser_options

VIEWPORT = {"width": 1440, "height": 900}
TIMEOUT_MS = 15_000
QUIET_FLAGS = (
    *("--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
# Chromium logs each request that found no service or no way in; tests that kill it mean that to happen,
# one asks why of an epoch 99 that no run has, one types what is refused, one shows a run that is deleted.
EXPECTED_ERRORS = (
    *("net::ERR_CONNECTION_REFUSED", "net::ERR_INCOMPLETE_CHUNKED", "net::ERR_CONNECTION_RESET"),
    *("status of 401", "/99/explain", "/runs/refused", "/runs/deleted", "run=deleted"),
)
REPORT_VIOLATIONS = """addEventListener("securitypolicyviolation",
    (event) => console.error("CSP", event.violatedDirective, event.blockedURI))"""

SEED_ITEMS = (4.0, 5.0, 2.0, 4.0, 3.0, 2.0, 3.0, 1.0)
WRITER = "01J0000000000000000000PAGE"


class Filled:
    """Puts runs into a service, as its clients do over HTTP."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def make(
        self, run: str, rows: list[dict[str, object]], *, finished: bool = True, **about: object
    ) -> None:
        """Make a run of rows; a finished one's last epoch is complete. `about`: more keys of its PUT."""
        self._service.send("PUT", f"/api/v1/runs/{run}", {"name": f"run {run}", **about})
        self.add(run, rows)
        if finished:
            end = {"writer": WRITER, "attempt": 0, "rank": 0, "records": [], "state": "finished"}
            self._service.send("POST", f"/api/v1/runs/{run}/records", end)

    def add(self, run: str, rows: list[dict[str, object]]) -> None:
        """Send rows to a run that is there."""
        self._service.send("POST", f"/api/v1/runs/{run}/records", {"records": rows})

    def make_seed(self, run: str, batch_size: int, **about: object) -> None:
        """Make the first seed's example: eight items in one epoch."""
        self.make(run, seed_rows(batch_size), **about)

    def make_training(self, run: str, batch_size: int, *, epochs: int = 4, items: int = 200) -> None:
        """Make a run that learns, with a validation pass after each epoch."""
        noise = random.Random(batch_size)
        rows = []
        for epoch in range(epochs):
            for batch, first in enumerate(range(0, items, batch_size)):
                loss = 0.1 + 2 * math.exp(-(epoch + first / items)) * noise.uniform(0.8, 1.2)
                rows.append(row(epoch, batch, loss, min(batch_size, items - first)))
            rows.append(row(epoch, 0, 0.2 + 2 * math.exp(-(epoch + 1)), 50, split="val"))
        self.make(run, rows)


def seed_rows(batch_size: int, *, epoch: int = 0, **more: object) -> list[dict[str, object]]:
    """Return one epoch over the first seed's items."""
    batches = [SEED_ITEMS[at : at + batch_size] for at in range(0, len(SEED_ITEMS), batch_size)]
    return [row(epoch, i, sum(batch) / len(batch), len(batch), **more) for i, batch in enumerate(batches)]


def row(epoch: int, batch: int, loss: float | str, batch_size: int, **more: object) -> dict[str, object]:
    """One record as a person types it."""
    return {"epoch": epoch, "batch": batch, "loss": loss, "batch_size": batch_size, **more}


@pytest.fixture
def filled(service: Service) -> Filled:
    """The way in for records."""
    return Filled(service)


@pytest.fixture
def make_seed_rows() -> Callable[..., list[dict[str, object]]]:
    """Make one epoch over the first seed's items, as a person types it."""
    return seed_rows


@pytest.fixture
def typed_row() -> Callable[..., dict[str, object]]:
    """Make a record as a person types it."""
    return row


# Not for the whole session: while Playwright's loop runs in this thread, no other test could run one.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium that asks nobody but the service."""
    options = browser_options()
    options["args"] = [*options["args"], *QUIET_FLAGS]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**options)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh profile; whatever its pages complained of fails the test."""
    context = browser.new_context(viewport=VIEWPORT)
    context.set_default_timeout(TIMEOUT_MS)
    context.add_init_script(REPORT_VIOLATIONS)
    complaints: list[str] = []

    def listen(said: ConsoleMessage) -> None:
        if said.type == "error":
            complaints.append(f"{said.text} {said.location['url']}")

    context.on("console", listen)
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    yield context
    context.close()
    assert [text for text in complaints if not any(known in text for known in EXPECTED_ERRORS)] == []


@pytest.fixture
def open_page(context: BrowserContext, service: Service) -> Callable[[str], Page]:
    """Open a path of the service, logged in."""

    def open_path(path: str) -> Page:
        page = context.new_page()
        page.goto(service.login_link(path))
        return page

    return open_path
