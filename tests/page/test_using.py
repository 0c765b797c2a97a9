"""How the page is used: by keyboard, on a phone, through its address, in the dark."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.page

OpenPage = Callable[[str], Page]
PHONE = {"width": 390, "height": 844}
FULL = "/?run=ten&run=twenty&view=batch_mean&x=time&layout=side&mode=running"


@pytest.fixture(autouse=True)
def runs(filled: Any) -> None:
    """Two runs of different batch size."""
    filled.make_training("ten", 10)
    filled.make_training("twenty", 20)


def test_address_keeps_what_is_shown(open_page: OpenPage) -> None:
    page = open_page(FULL)
    expect_chosen(page, "Batch mean", "Time", "Side by side", "Running mean")
    expect(page.locator("#run-list input:checked")).to_have_count(2)
    page.get_by_role("radio", name="Raw sum").check()
    page.get_by_role("radio", name="Overlay").check()
    page.get_by_role("checkbox", name="run twenty, finished").uncheck()
    address = page.url
    assert address.endswith("/?run=ten&view=raw_sum&x=time&mode=running")
    page.reload()
    expect_chosen(page, "Raw sum", "Time", "Overlay", "Running mean")
    expect(page.locator("#run-list input:checked")).to_have_count(1)
    assert page.url == address


def test_keyboard_reaches_the_switch_and_the_runs(open_page: OpenPage) -> None:
    page = open_page("/?run=ten")
    expect(page.locator("#run-list input:checked")).to_have_count(1)
    press_until(page, "Tab", "#view input:checked")
    page.keyboard.press("ArrowLeft")
    expect_chosen(page, "Batch mean")
    press_until(page, "Tab", "#run-list input")
    page.keyboard.press("Home")
    page.keyboard.press("Space")
    expect(page.locator("#run-list input:checked")).to_have_count(2)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#run-list input:checked")).to_have_count(1)
    assert "run=ten" in page.url


def test_search_lists_only_what_fits(open_page: OpenPage) -> None:
    page = open_page("/")
    expect(page.locator("#run-list li")).to_have_count(2)
    page.get_by_role("searchbox", name="Search runs").fill("TWENTY")
    expect(page.locator("#run-list li")).to_have_count(1)
    expect(page.locator("#run-list .run-name")).to_have_text("run twenty")


def test_phone_has_no_sideways_scroll_and_all_controls(open_page: OpenPage) -> None:
    page = open_page("/?run=ten&run=twenty&view=raw_sum")
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    page.wait_for_selector("#batches-chart .scatterlayer .trace", state="attached")
    expect(page.locator(".notice")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    for name in ("Per item", "Items", "Side by side", "Every batch"):
        page.get_by_role("radio", name=name).check()
    page.get_by_role("button", name="2 of 2 runs").click()
    page.get_by_role("checkbox", name="run ten, finished").uncheck()
    expect(page.locator("#run-list input:checked")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_theme_follows_the_system_until_one_is_chosen(open_page: OpenPage) -> None:
    page = open_page("/?run=ten")
    ground = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(ground)
    page.emulate_media(color_scheme="light")
    light = page.evaluate(ground)
    assert dark != light
    page.get_by_role("button", name="Dark theme").click()
    assert page.evaluate(ground) == dark
    page.reload()
    expect(page.get_by_role("button", name="Light theme")).to_be_visible()
    assert page.evaluate(ground) == dark


def test_zoom_is_kept_while_records_come_and_can_be_reset(
    filled: Any, open_page: OpenPage, typed_row: Callable[..., dict[str, object]]
) -> None:
    page = open_page("/?run=ten&x=batch")
    page.wait_for_selector("#batches-chart .scatterlayer .trace", state="attached")
    page.evaluate("Plotly.relayout('batches-chart', {'xaxis.range[0]': 10, 'xaxis.range[1]': 20})")
    reset = page.locator("#batches").get_by_role("button", name="Reset zoom")
    expect(reset).to_be_visible()
    filled.add("ten", [typed_row(0, 15, 77.0, 10, call=1)])
    holds = (
        "() => document.getElementById('batches-chart').data.some((t) => Array.from(t.y).some((y) => y > 30))"
    )
    page.wait_for_function(holds)
    shown = "document.getElementById('batches-chart')._fullLayout.xaxis.range.map(Math.round)"
    assert page.evaluate(shown) == [10, 20]
    reset.click()
    page.wait_for_function(f"{shown}[1] > 40")
    expect(reset).to_be_hidden()


def expect_chosen(page: Page, *names: str) -> None:
    """Hold the page to radios by their labels."""
    for name in names:
        expect(page.get_by_role("radio", name=name, exact=True)).to_be_checked()


def press_until(page: Page, key: str, selector: str, *, most: int = 30) -> None:
    """Press a key until an element has the focus."""
    for _ in range(most):
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press(key)
    raise AssertionError(f"{most} × {key} did not reach {selector}")
