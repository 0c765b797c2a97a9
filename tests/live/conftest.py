"""A real service in a process of its own, real trainings beside it, a real browser before it."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from processes import Service, browser_options

VIEWPORT = {"width": 1440, "height": 900}


# Not for the whole session: while Playwright's loop runs in this thread, no other test could run one.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**browser_options())
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, service: Service) -> Iterator[Callable[[str], Page]]:
    """Open a path of the service in a fresh browser profile, logged in."""
    context = browser.new_context(viewport=VIEWPORT)

    def open_path(path: str) -> Page:
        page = context.new_page()
        page.goto(service.login_link(path))
        return page

    yield open_path
    context.close()
