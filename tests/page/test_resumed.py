"""A resumed run on the page: where attempts begin, what is hidden on demand, no line over what is missing."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.page

OpenPage = Callable[[str], Page]
Row = Callable[..., dict[str, object]]

BATCHES = 5
DRAWN = """(meta) => [...document.querySelectorAll('.js-plotly-plot')].map((chart) =>
    (chart.data ?? []).filter((trace) => trace.meta === meta)
        .map((trace) => [Array.from(trace.x), trace.text]))"""
LINES = """() => [...document.querySelectorAll('.js-plotly-plot')].map((chart) =>
    chart.data.filter((trace) => trace.mode?.includes('lines') && !trace.meta && trace.yaxis === 'y')
        .map((trace) => Array.from(trace.y)))"""
HAVE = f"""([meta, count]) => {{
    const all = ({DRAWN})(meta);
    return all.length === 2 && all.every((traces) => traces.length === count);
}}"""
PHONE = {"width": 390, "height": 844}


@pytest.fixture
def resume(filled: Any, typed_row: Row) -> Callable[..., None]:
    """Make a run of attempts, each from its first epoch up to its last, which is left out."""

    def make(run: str, *attempts: tuple[int, int]) -> None:
        rows = [
            typed_row(epoch, batch, 10.0 * number + epoch + 1, 4, attempt=number)
            for number, (first, last) in enumerate(attempts)
            for epoch in range(first, last)
            for batch in range(BATCHES)
        ]
        filled.make(run, rows)

    return make


def test_hidden_records_are_shown_on_demand(open_page: OpenPage, resume: Callable[..., None]) -> None:
    resume("r", (0, 4), (2, 5))
    page = open_page("/?run=r")
    button = page.get_by_role("button", name="Show 10 hidden records of attempt 1")
    expect(button).to_have_attribute("aria-pressed", "false")
    wait_for(page, "hidden", 0)
    expect(page.locator("#values-table tbody tr")).to_have_count(1)
    values = page.locator("#values-table").inner_text()
    button.click()
    wait_for(page, "hidden", 1)
    assert "hidden=show" in page.url
    epochs, batches = page.evaluate(DRAWN, "hidden")
    assert [x for x, _ in epochs] == [[1, 2, 3]], "from the visible epoch before it on"
    assert [x for x, _ in batches] == [list(range(11, 21))]
    assert "attempt 1, hidden" in epochs[0][1][-1]
    assert page.locator("#values-table").inner_text() == values, "never mixed into numbers"
    page.reload()
    wait_for(page, "hidden", 1)
    page.get_by_role("button", name="Leave out 10 hidden records of attempt 1").click()
    wait_for(page, "hidden", 0)
    assert "hidden" not in page.url


def test_run_that_was_never_resumed_has_no_such_button(
    open_page: OpenPage, resume: Callable[..., None]
) -> None:
    resume("plain", (0, 2))
    page = open_page("/?run=plain&hidden=show")
    expect(page.locator("#values-table tbody tr")).to_have_count(1)
    wait_for(page, "attempt", 0)
    expect(page.locator("#hidden")).to_be_hidden()


def test_mark_tells_where_an_attempt_begins(open_page: OpenPage, resume: Callable[..., None]) -> None:
    resume("r", (0, 3), (2, 4))
    page = open_page("/?run=r")
    wait_for(page, "attempt", 1)
    assert page.evaluate(DRAWN, "attempt") == [
        [[[1], ["attempt 2 begins · epoch 2"]]],
        [[[10], ["attempt 2 begins · epoch 2"]]],
    ]


@pytest.mark.parametrize("axis", ["epoch", "items"])
def test_no_line_leads_over_records_that_are_missing(
    open_page: OpenPage, resume: Callable[..., None], axis: str
) -> None:
    resume("r", (0, 2), (4, 6))
    page = open_page(f"/?run=r&x={axis}")
    wait_for(page, "attempt", 1)
    lines = page.evaluate(LINES)
    assert lines[0] == [[1, 2, None, 15, 16]]
    assert lines[1] == [[*[1] * BATCHES, *[2] * BATCHES, None, *[15] * BATCHES, *[16] * BATCHES]]
    assert "records before it are missing" in page.evaluate(DRAWN, "attempt")[0][0][1][0]


def test_several_attempts_and_runs_are_counted_together(
    open_page: OpenPage, resume: Callable[..., None]
) -> None:
    resume("r", (0, 3), (1, 3), (1, 2))
    resume("s", (0, 2), (1, 2))
    page = open_page("/?run=r")
    expect(page.get_by_role("button", name="Show 20 hidden records of 2 attempts")).to_be_visible()
    page.goto(page.url.replace("run=r", "run=r&run=s&layout=side"))
    page.get_by_role("button", name="Show 25 hidden records of 2 runs").click()
    wait_for(page, "hidden", 3)
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    expect(page.get_by_role("button", name="Leave out 25 hidden records of 2 runs")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def wait_for(page: Page, meta: str, count: int) -> None:
    """Wait until both charts have so many traces of a kind."""
    page.wait_for_function(HAVE, arg=[meta, count])


def test_no_line_leads_to_an_attempt_of_unknown_position(
    filled: Any, service: Any, open_page: OpenPage, typed_row: Row
) -> None:
    for number in (0, 1):
        service.send("PUT", "/api/v1/runs/r", {"attempt": {"started_unix_s": number}})
        filled.add(
            "r", [typed_row(0, batch, 10.0 * number + 1, 4, attempt=number) for batch in range(BATCHES)]
        )
    page = open_page("/?run=r")
    wait_for(page, "attempt", 1)
    expect(page.locator(".notice")).to_contain_text("Attempt 2 did not say where it goes on")
    assert page.evaluate(LINES)[1] == [[*[1] * BATCHES, None, *[11] * BATCHES]]
