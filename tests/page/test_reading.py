"""What a reader sees on the page: the seed's numbers, what can't be compared, what is not a number."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

pytestmark = pytest.mark.page

OpenPage = Callable[[str], Page]
SEED = {
    2: {"raw_sum": 12.0, "normalized_sum": 24.0, "batch_mean": 3.0, "per_item": 3.0},
    4: {"raw_sum": 6.0, "normalized_sum": 24.0, "batch_mean": 3.0, "per_item": 3.0},
    3: {"raw_sum": 26 / 3, "normalized_sum": 26.0, "batch_mean": 26 / 9, "per_item": 3.0},
}
LABELS = {
    "raw_sum": "Raw sum",
    "normalized_sum": "Normalized sum",
    "batch_mean": "Batch mean",
    "per_item": "Per item",
}
# The values that a chart draws, by the name in its hover.
DRAWN = """(id) => Object.fromEntries(document.getElementById(id).data
    .filter((trace) => trace.hoverinfo !== "skip" && trace.meta === undefined)
    .map((trace) => [trace.name, Array.from(trace.y).filter((y) => y !== null)]))"""
BAND_TOP = """(id) => Math.max(...document.getElementById(id).data
    .filter((trace) => trace.meta === "band").flatMap((trace) => trace.y))"""
CHART_SHARE = """() => [...document.querySelectorAll(".chart")]
    .reduce((sum, chart) => sum + chart.clientWidth * chart.clientHeight, 0) / innerWidth / innerHeight"""
MARKS = """(id) => (document.getElementById(id).data ?? [])
    .filter((trace) => trace.meta === "nonfinite").flatMap((trace) => Array.from(trace.text))"""


def test_table_shows_the_views_of_the_seed(filled: Any, open_page: OpenPage) -> None:
    for batch_size in SEED:
        filled.make_seed(f"seed-{batch_size}", batch_size)
    page = open_page("/?run=seed-2&run=seed-4&run=seed-3")
    for batch_size, views in SEED.items():
        for view, expected in views.items():
            cell = page.locator(f'tr[data-run="seed-{batch_size}"] td[data-field="{view}"]')
            expect(cell).to_have_text(f"{expected:.4f}")
            assert float(cell.get_attribute("data-value") or "nan") == pytest.approx(expected, rel=1e-12)
        size = page.locator(f'tr[data-run="seed-{batch_size}"] td[data-field="batch_size"]')
        expect(size).to_have_text(str(batch_size))


def test_view_switch_draws_each_view_of_the_seed(filled: Any, open_page: OpenPage) -> None:
    for batch_size in SEED:
        filled.make_seed(f"seed-{batch_size}", batch_size)
    page = open_page("/?run=seed-2&run=seed-4&run=seed-3")
    wait_for_chart(page, "epochs-chart")
    for view, label in LABELS.items():
        page.get_by_role("radio", name=label, exact=True).check()
        expected = {f"run seed-{size} train": [views[view]] for size, views in SEED.items()}
        page.wait_for_function(
            f"([id, first]) => Math.abs(({DRAWN})(id)['run seed-3 train'][0] - first) < 1e-9",
            arg=["epochs-chart", SEED[3][view]],  # the one whose views all differ
        )
        drawn = page.evaluate(DRAWN, "epochs-chart")
        assert drawn == {name: pytest.approx(values) for name, values in expected.items()}


def test_raw_sum_of_different_batch_sizes_is_explained_and_per_item_offered(
    filled: Any, open_page: OpenPage
) -> None:
    filled.make_training("ten", 10)
    filled.make_training("twenty", 20)
    page = open_page("/?run=ten&run=twenty&view=raw_sum")
    notice = page.locator(".notice", has_text="batch")
    expect(notice).to_contain_text("20 of 10")
    expect(notice).to_contain_text("10 of 20")
    notice.get_by_role("button", name="Show per item").click()
    expect(page.get_by_role("radio", name="Per item")).to_be_checked()
    expect(notice).to_have_count(0)
    assert "view=per_item" in page.url


def test_runs_of_one_batch_size_bring_no_notice_but_of_their_short_validation(
    filled: Any, open_page: OpenPage
) -> None:
    filled.make_training("one", 20)
    filled.make_training("two", 20)
    page = open_page("/?run=one&run=two&view=raw_sum")
    expect(page.locator(".notice")).to_have_count(1)
    expect(page.locator(".notice")).to_contain_text("run one 10 in train and 1 in val")
    page.get_by_role("radio", name="Batch mean").check()
    expect(page.locator(".notice")).to_have_count(0)


def test_axis_is_items_where_batch_sizes_differ_and_epochs_otherwise(
    filled: Any, open_page: OpenPage
) -> None:
    filled.make_training("ten", 10)
    filled.make_training("twenty", 20)
    page = open_page("/?run=ten&run=twenty")
    expect(page.get_by_role("radio", name="Items")).to_be_checked()
    page.get_by_role("button", name="Show only run ten").click()
    expect(page.get_by_role("radio", name="Epoch")).to_be_checked()


def test_loss_that_is_not_a_number_is_marked_and_counted(
    filled: Any, open_page: OpenPage, typed_row: Callable[..., dict[str, object]]
) -> None:
    filled.make("broken", [typed_row(0, i, "NaN" if i == 5 else 1.0, 4) for i in range(8)])
    page = open_page("/?run=broken")
    wait_for_chart(page, "batches-chart")
    assert page.evaluate(MARKS, "batches-chart") == ["NaN · epoch 0, batch 5"]
    assert page.evaluate(MARKS, "epochs-chart") == ["epoch 0: 1 of 8 losses not finite"]
    expect(page.locator("#batches-share")).to_have_text("all 8 records, 1 not finite")
    expect(page.locator('td[data-field="nonfinite"]')).to_have_text("1")


def test_thinned_chart_says_its_share_and_keeps_a_spike(
    filled: Any, open_page: OpenPage, typed_row: Callable[..., dict[str, object]]
) -> None:
    filled.make("long", [typed_row(0, i, 900.0 if i == 2345 else 1.0, 4) for i in range(5000)])
    page = open_page("/?run=long&x=batch")
    wait_for_chart(page, "batches-chart")
    expect(page.locator("#batches-share")).to_contain_text("of 5,000 records")
    assert page.evaluate(BAND_TOP, "batches-chart") == 900.0


def test_side_by_side_gives_each_run_its_own_axes(filled: Any, open_page: OpenPage) -> None:
    filled.make_training("ten", 10)
    filled.make_training("twenty", 20)
    page = open_page("/?run=ten&run=twenty")
    wait_for_chart(page, "epochs-chart")
    page.get_by_role("radio", name="Side by side").check()
    page.wait_for_function(
        "() => new Set(document.getElementById('epochs-chart').data.map((t) => t.xaxis)).size === 2"
    )


def test_difference_holds_the_runs_against_the_first(
    filled: Any, open_page: OpenPage, typed_row: Callable[..., dict[str, object]]
) -> None:
    for run, more in (("base", 0.0), ("higher", 0.5)):
        filled.make(run, [typed_row(e, b, 4 - e + more, 2) for e in range(3) for b in range(4)])
    page = open_page("/?run=base&run=higher&view=per_item")
    wait_for_chart(page, "epochs-chart")
    page.get_by_role("radio", name="Difference").check()
    page.wait_for_function("() => document.getElementById('epochs-chart').data.length === 1")
    assert page.evaluate(DRAWN, "epochs-chart") == {"run higher train": [0.5, 0.5, 0.5]}
    expect(page.locator("#epochs-chart .ytitle")).to_contain_text("above run base")
    assert "layout=difference" in page.url
    page.get_by_role("radio", name="Time").check()
    expect(page.get_by_role("radio", name="Overlay")).to_be_checked()
    expect(page.get_by_role("radio", name="Difference")).to_be_hidden()


def test_chart_has_the_room(filled: Any, open_page: OpenPage) -> None:
    filled.make_training("ten", 10)
    filled.make_training("twenty", 20)
    page = open_page("/?run=ten&run=twenty")
    wait_for_chart(page, "batches-chart")
    page.wait_for_selector("#values-table tbody tr:nth-child(2)")  # it takes its room from the charts
    assert page.evaluate(CHART_SHARE) >= 0.6


def wait_for_chart(page: Page, chart: str) -> None:
    """Wait until a chart has drawn a line."""
    page.wait_for_selector(f"#{chart} .scatterlayer .trace", state="attached")


def test_damaged_run_is_told_in_the_list_and_what_to_do_about_it_beside_the_chart(
    filled: Any, context: BrowserContext, open_page: OpenPage
) -> None:
    filled.make_seed("deleted", 2)

    def damage(route: Route) -> None:
        answer = route.fetch()
        told = answer.json()
        told["runs"] = [run | {"damaged": True, "per_item": None, "spark": []} for run in told["runs"]]
        route.fulfill(response=answer, json=told)

    problem = {
        "status": 500,
        "code": "storage-damaged",
        "detail": "End it, and `lossboard doctor` says more.",
    }
    context.route("**/api/v1/runs?*", damage)
    context.route("**/api/v1/curves?*", lambda route: route.fulfill(status=500, json=problem))
    page = open_page("/?run=deleted")
    expect(page.locator(".run-value")).to_have_text("damaged")
    expect(page.locator(".run-value")).to_have_attribute("title", re.compile("lossboard doctor"))
    notice = page.locator('[data-notice="fault"]')
    expect(notice).to_contain_text("End it, and lossboard doctor says more.")
    expect(notice.locator("code")).to_have_text("lossboard doctor")
    expect(page.locator("#epochs-chart .xtick, #epochs-chart .ytick")).to_have_count(0)  # no invented scale
