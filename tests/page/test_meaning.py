"""What stands beside the numbers: unit and source, ranks, coverage, smoothing; what must not be compared."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from processes import Service, running_service

pytestmark = pytest.mark.page

OpenPage = Callable[[str], Page]
Row = Callable[..., dict[str, object]]
Rows = Callable[..., list[dict[str, object]]]
TITLE = "(id) => document.getElementById(id).layout?.yaxis?.title?.text"
X_TITLE = TITLE.replace("yaxis", "xaxis")
HOVERS = """(id) => (document.getElementById(id).data ?? [])
    .filter((trace) => trace.text && trace.meta === undefined).flatMap((trace) => Array.from(trace.text))"""
TRACES = """([id, meta]) => (document.getElementById(id).data ?? [])
    .filter((trace) => trace.meta === meta).map((trace) => Array.from(trace.y).filter((y) => y !== null))"""
RAW = """(id) => document.getElementById(id).data
    .filter((trace) => trace.name.endsWith("train") && trace.meta === undefined)
    .flatMap((trace) => Array.from(trace.y))"""
CELLS = "(id) => new Set((document.getElementById(id).data ?? []).map((trace) => trace.xaxis)).size"
COUPLED = {"reduction": "unknown", "weight_source": "probed", "traits": {"finding": "batch_coupled"}}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all these tests; each makes runs of its own."""
    folder: Path = tmp_path_factory.mktemp("meaning")
    with running_service(folder / "state") as service:
        yield service


def test_unit_and_source_stand_beside_every_number(filled: Any, open_page: OpenPage) -> None:
    exact = {"train/loss": {"reduction": "mean", "weight_unit": "tokens", "weight_source": "exact"}}
    filled.make_seed("exact", 2, series=exact)
    filled.make_seed("typed", 2)
    page = open_page("/?run=exact")
    expect(number(page, "exact", "meaning")).to_have_text("per token, exact")
    page.wait_for_function(f"(id) => ({TITLE})(id) === 'Loss per token, exact'", arg="epochs-chart")
    assert page.evaluate(HOVERS, "epochs-chart") == ["3 per token, exact · epoch 0, 4 batches"]
    assert page.evaluate(TITLE, "batches-chart") == "Loss per token, exact"
    assert mark(number(page, "exact", "per_item")) == "none"


def test_assumed_number_is_marked_and_says_what_would_make_it_exact(filled: Any, open_page: OpenPage) -> None:
    filled.make_seed("assumed", 2)
    page = open_page("/?run=assumed")
    meaning = number(page, "assumed", "meaning")
    expect(meaning).to_have_text("per item, assumed")
    expect(meaning).to_have_attribute(
        "title",
        "We assumed a mean over the batch’s items. If the loss ignores or weights targets, pass weight=.",
    )
    assert mark(number(page, "assumed", "per_item")) == '"≈"'
    assert mark(page.locator('[data-run="assumed"] .run-value')) == '"≈"'
    page.wait_for_function(f"(id) => ({TITLE})(id) === 'Loss per item, assumed'", arg="epochs-chart")


def test_step_objective_and_the_spread_of_ranks_are_shown_where_there_are_ranks(
    filled: Any, open_page: OpenPage, typed_row: Row
) -> None:
    filled.make_seed("alone", 2)
    both = [typed_row(0, i, loss, 2, rank=rank) for rank, loss in enumerate((2.0, 4.0)) for i in range(3)]
    filled.make("ranks", [*both, typed_row(0, 3, 10.0, 2, rank=1)])
    page = open_page("/?run=alone")
    expect(number(page, "alone", "per_item")).to_have_text("3.0000")
    expect(page.get_by_role("radio", name="Step objective")).to_be_hidden()
    page.goto(page.url.replace("run=alone", "run=ranks"))
    expect(page.get_by_role("radio", name="Step objective")).to_be_visible()
    expect(number(page, "ranks", "step_objective")).to_be_visible()
    page.wait_for_function(
        f"([id, meta]) => ({TRACES})([id, meta]).length === 1", arg=["epochs-chart", "ranks"]
    )
    (band,) = page.evaluate(TRACES, ["epochs-chart", "ranks"])
    assert (min(band), max(band)) == (2.0, 5.5)
    (hover,) = page.evaluate(HOVERS, "epochs-chart")
    assert "ranks 2.0000 to 5.5000" in hover
    page.get_by_role("radio", name="Step objective").check()
    page.wait_for_function(f"(id) => ({HOVERS})(id)[0]?.includes('mean of steps')", arg="epochs-chart")
    assert "view=step_objective" in page.url


def test_smooth_curve_lies_over_the_raw_one_and_its_half_life_is_in_the_address(
    filled: Any, open_page: OpenPage
) -> None:
    filled.make_training("noisy", 10)
    page = open_page("/?run=noisy&x=batch")
    page.get_by_label("Smoothing").select_option("100")
    page.wait_for_function(f"(id) => ({TRACES})([id, 'smooth']).length === 1", arg="batches-chart")
    assert page.url.endswith("&smooth=100")
    (smooth,) = page.evaluate(TRACES, ["batches-chart", "smooth"])
    raw = page.evaluate(RAW, "batches-chart")
    assert len(smooth) == len(raw) == 80
    assert max(smooth) - min(smooth) < max(raw) - min(raw)
    page.reload()
    expect(page.get_by_label("Smoothing")).to_have_value("100")
    expect(page.locator("#smooth option:checked")).to_have_text("Smooth, half-life 100 items")
    page.get_by_role("radio", name="Running mean").check()
    expect(page.get_by_label("Smoothing")).to_be_hidden()


def test_batch_coupled_losses_stand_side_by_side_until_overlay_is_chosen(
    filled: Any, open_page: OpenPage, typed_row: Row
) -> None:
    for run, size in (("narrow", 16), ("wide", 64)):
        rows = [typed_row(0, i, 3.4 + i / 10, size) for i in range(4)]
        filled.make(run, rows, series={"train/loss": COUPLED})
    page = open_page("/?run=narrow&run=wide")
    expect(page.get_by_role("radio", name="Side by side")).to_be_checked()
    page.wait_for_function(f"(id) => ({CELLS})(id) === 2", arg="batches-chart")
    assert "layout" not in page.url
    notice = page.locator('[data-notice^="batch-coupled"]')
    expect(notice).to_be_visible()
    expect(number(page, "narrow", "meaning")).to_have_text("per batch, coupled")
    notice.get_by_role("button", name="Overlay them anyway").click()
    page.wait_for_function(f"(id) => ({CELLS})(id) === 1", arg="batches-chart")
    assert "layout=overlay" in page.url
    page.reload()
    expect(page.get_by_role("radio", name="Overlay")).to_be_checked()
    notice.get_by_role("button", name="Show side by side").click()
    expect(page.get_by_role("radio", name="Side by side")).to_be_checked()
    assert "layout" not in page.url


def test_losses_per_item_and_per_token_stand_side_by_side(filled: Any, open_page: OpenPage) -> None:
    tokens = {"train/loss": {"reduction": "mean", "weight_unit": "tokens", "weight_source": "exact"}}
    filled.make_seed("texts", 2, series=tokens)
    filled.make_seed("images", 2)
    page = open_page("/?run=texts&run=images")
    expect(page.locator("#notices")).to_contain_text("means over different things")
    page.wait_for_function(f"(id) => ({CELLS})(id) === 2", arg="epochs-chart")
    page.get_by_role("button", name="Overlay them anyway").click()
    page.wait_for_function(f"(id) => ({CELLS})(id) === 1", arg="epochs-chart")


def test_axis_of_steps_is_offered_where_gradients_accumulate(
    filled: Any, open_page: OpenPage, typed_row: Row
) -> None:
    filled.make("windows", [typed_row(0, i, 3.0 - i / 8, 2, step=i // 4) for i in range(8)])
    filled.make_seed("plain", 2)
    page = open_page("/?run=plain")
    expect(number(page, "plain", "per_item")).to_be_visible()
    expect(page.get_by_role("radio", name="Step", exact=True)).to_be_hidden()
    page.get_by_role("checkbox", name="run windows").check()
    page.get_by_role("radio", name="Step", exact=True).check()
    page.wait_for_function(f"(id) => ({X_TITLE})(id) === 'Optimizer steps'", arg="batches-chart")
    expect(page.locator("#batches")).to_contain_text("run plain: no steps were told.")
    assert page.url.endswith("x=step")


def test_items_stand_beside_those_that_an_epoch_should_hold(filled: Any, open_page: OpenPage) -> None:
    for run, items, dtype in (("short", 10, "bfloat16"), ("double", 7, "float32")):
        filled.make_seed(run, 2, series={"train/loss": {"traits": {"dataset_items": items, "dtype": dtype}}})
    page = open_page("/?run=short&run=double")
    expect(number(page, "short", "items")).to_have_text("8 of 10")
    expect(number(page, "short", "items")).to_have_attribute(
        "title", "8 of 10 items of the data set: 2 not seen"
    )
    expect(number(page, "double", "items")).to_have_text("8 of 7")
    expect(number(page, "double", "items")).to_have_attribute("title", "8 of 7: 1 seen more than once")
    expect(number(page, "short", "meaning")).to_contain_text("steps of 1/32")
    expect(number(page, "double", "meaning")).not_to_contain_text("steps")


def test_evaluations_are_compared_only_over_the_same_items(
    filled: Any, open_page: OpenPage, typed_row: Row, make_seed_rows: Rows
) -> None:
    exact = {"eval/loss": {"reduction": "mean", "weight_unit": "items", "weight_source": "exact"}}
    for run, loss, items in (("first", 0.5, 400), ("second", 0.45, 400), ("other", 0.4, 300)):
        rows = [*make_seed_rows(2), typed_row(0, 0, loss, items, split="eval", weight=items)]
        filled.make(run, rows, series=exact)
    page = open_page("/?run=first&run=second")
    table = page.locator("#evaluation")
    expect(table.locator('tr[data-run="first"] td[data-field="difference"]')).to_have_text("+0.0500 (+11 %)")
    expect(table.locator('tr[data-run="second"] td[data-field="difference"]')).to_have_text("best")
    expect(table.locator('tr[data-run="second"] td[data-field="per_item"]')).to_have_text("0.4500")
    expect(page.locator("#values-table tbody tr")).to_have_count(2)
    page.get_by_role("checkbox", name="run other, finished").check()
    expect(table.locator(".apart")).to_contain_text("run other 300 items")
    expect(table.locator('td[data-field="difference"]')).to_have_count(0)


def number(page: Page, run: str, field: str) -> Locator:
    """Return a number of the table, which is a button."""
    return page.locator(f'#values tr[data-run="{run}"] td[data-field="{field}"] button')


def mark(locator: Locator) -> str:
    """Return what stands before a number without being part of it."""
    return str(locator.evaluate("(element) => getComputedStyle(element, '::before').content"))
