"""How the page lives: what is new comes by itself, a killed service is outlived, a run picks itself."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from processes import Service

pytestmark = pytest.mark.page

OpenPage = Callable[[str], Page]
Row = Callable[..., dict[str, object]]
HOLDS = """(loss) => (document.getElementById("batches-chart").data ?? [])
    .some((trace) => Array.from(trace.y ?? []).includes(loss))"""

COUNTS = """(records) => (document.getElementById("batches-chart").data ?? []).some((trace) =>
    trace.mode?.includes("lines") && (trace.x ?? []).filter((x) => x !== null).length === records)"""
SINGLE = """() => {
    const xs = document.getElementById("epochs-chart").data.flatMap((trace) => Array.from(trace.x ?? []));
    return [1010, 1011, 1012, 1013].every((epoch) => xs.includes(epoch)); }"""
DRAWN = """(chart) => document.getElementById(chart).data.map((trace) =>
    [trace.meta, trace.mode, Array.from(trace.x ?? []), Array.from(trace.y ?? [])])"""


def test_new_record_appears_without_a_reload(filled: Any, open_page: OpenPage, typed_row: Row) -> None:
    filled.make("live", [typed_row(0, 0, 4.5, 2)], finished=False)
    page = open_page("/?run=live")
    page.wait_for_function(HOLDS, arg=4.5)
    page.evaluate("window.sameDocument = true")
    filled.add("live", [typed_row(0, 1, 3.25, 2)])
    page.wait_for_function(HOLDS, arg=3.25)
    assert page.evaluate("window.sameDocument")


def test_killed_and_restarted_service_is_outlived_without_a_reload(
    service: Service, filled: Any, open_page: OpenPage, typed_row: Row
) -> None:
    filled.make("live", [typed_row(0, 0, 4.5, 2)], finished=False)
    page = open_page("/?run=live")
    page.wait_for_function(HOLDS, arg=4.5)
    page.evaluate("window.sameDocument = true")
    service.kill()
    notice = page.locator('[data-notice="connection"]')
    expect(notice).to_contain_text("Not connected")
    assert page.evaluate(HOLDS, 4.5), "what was known stays"
    service.start()
    filled.add("live", [typed_row(0, 1, 3.25, 2)])
    page.wait_for_function(HOLDS, arg=3.25)
    expect(notice).to_have_count(0)
    assert page.evaluate("window.sameDocument")


def test_empty_page_teaches_the_two_lines_and_opens_the_first_run(
    filled: Any, open_page: OpenPage, typed_row: Row
) -> None:
    page = open_page("/")
    expect(page.get_by_role("heading", name="No runs yet")).to_be_visible()
    expect(page.locator("#two-lines code")).to_have_text(
        "import lossboard\nlossboard.watch(loss_func, train_ldr)"
    )
    filled.make("first", [typed_row(0, 0, 4.5, 2)], finished=False)
    page.wait_for_function(HOLDS, arg=4.5)
    expect(page.get_by_role("heading", name="No runs yet")).to_be_hidden()


def test_page_opens_on_the_newest_running_run(filled: Any, open_page: OpenPage, typed_row: Row) -> None:
    filled.make("older", [typed_row(0, 0, 1.5, 2)], finished=False)
    filled.make("running", [typed_row(0, 0, 2.5, 2)], finished=False)
    filled.make("over", [typed_row(0, 0, 3.5, 2)])
    page = open_page("/")
    page.wait_for_function(HOLDS, arg=2.5)
    assert "run=running" in page.url
    assert page.url.count("run=") == 1


def test_second_tab_is_live_on_the_first_ones_stream(
    filled: Any, context: BrowserContext, open_page: OpenPage, typed_row: Row
) -> None:
    streams: list[str] = []
    context.on("request", lambda asked: streams.append(asked.url) if "/events" in asked.url else None)
    filled.make("live", [typed_row(0, 0, 4.5, 2)], finished=False)
    pages = [open_page("/?run=live"), open_page("/?run=live")]
    for page in pages:
        page.wait_for_function(HOLDS, arg=4.5)
        expect(page.locator('html[data-connection="live"]')).to_have_count(1)
    filled.add("live", [typed_row(0, 1, 3.25, 2)])
    for page in pages:
        page.wait_for_function(HOLDS, arg=3.25)
    assert len(streams) == 1


def test_browser_without_a_way_in_any_more_is_told_how_to_get_one(
    filled: Any, context: BrowserContext, open_page: OpenPage, typed_row: Row
) -> None:
    filled.make("live", [typed_row(0, 0, 4.5, 2)], finished=False)
    page = open_page("/?run=live")
    page.wait_for_function(HOLDS, arg=4.5)
    context.route("**/api/v1/**", lambda route: route.fulfill(status=401, json={"detail": "Log in."}))
    page.get_by_role("radio", name="Time").check()
    expect(page.locator('[data-notice="connection"]')).to_contain_text("lossboard open")
    context.unroute("**/api/v1/**")
    page.get_by_role("radio", name="Batch", exact=True).check()
    expect(page.locator('[data-notice="connection"]')).to_have_count(0)


def test_page_that_follows_draws_what_a_fresh_page_draws(
    filled: Any, open_page: OpenPage, typed_row: Row
) -> None:
    def rows(epochs: range) -> list[dict[str, object]]:
        return [
            typed_row(e, b, 1 + math.sin(e * 40 + b), 2, time=1e9 + e * 40 + b)
            for e in epochs
            for b in range(40)
        ]

    filled.make("live", rows(range(30)), finished=False)
    page = open_page("/?run=live")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/curves" in request.url else None)
    page.wait_for_function(COUNTS, arg=1200)
    for epoch in range(30, 33):
        filled.add("live", rows(range(epoch, epoch + 1)))
        page.wait_for_function(COUNTS, arg=40 * (epoch + 1))
    fresh = open_page("/?run=live")
    fresh.wait_for_function(COUNTS, arg=1320)
    for chart in ("epochs-chart", "batches-chart"):
        assert page.evaluate(DRAWN, chart) == fresh.evaluate(DRAWN, chart)
    assert len(asked) > 4
    anew = [url for url in asked if "since=" not in url]
    assert len(anew) <= 2, "each chart once more, when its loss was known; after that only for what was new"


def test_run_of_more_epochs_than_points_is_drawn_with_its_band(
    filled: Any, open_page: OpenPage, typed_row: Row
) -> None:
    filled.make("many", [typed_row(e, 0, 2 + math.sin(e) / (1 + e / 300), 2) for e in range(3000)])
    page = open_page("/?run=many&view=raw_sum&x=epoch")
    page.wait_for_function(
        "() => document.getElementById('epochs-chart').data?.some((t) => t.meta === 'epochs')"
    )
    expect(page.get_by_text("epochs of a point, least to greatest").first).to_be_visible()
    page.evaluate("() => Plotly.relayout('epochs-chart', {'xaxis.range': [1000, 1040]})")
    page.wait_for_function(SINGLE)
    expect(page.locator("#epochs").get_by_text("epochs of a point")).to_have_count(0)
