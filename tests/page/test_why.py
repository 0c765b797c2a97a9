"""What the page answers when a number is asked why: by mouse, by keyboard, by address, on a phone."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from processes import Service, running_service

pytestmark = pytest.mark.page

OpenPage = Callable[[str], Page]
Rows = Callable[..., list[dict[str, object]]]
PHONE = {"width": 390, "height": 844}
KERAS = {"frameworks": {"keras": "3.14.1", "torch": "2.13.0"}}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all these tests: they only read, or have a run of their own."""
    folder: Path = tmp_path_factory.mktemp("why")
    with running_service(folder / "state") as service:
        yield service


@pytest.fixture
def seed(service: Service, filled: Any) -> str:
    """The first seed's run at batch size 3, trained with Keras; returns its address."""
    known = {run["run"] for run in service.get("/api/v1/runs")["runs"]}
    if "seed" not in known:
        filled.make_seed("seed", 3, environment=KERAS)
    return "/?run=seed"


def test_number_of_the_table_says_its_formula_with_the_epochs_own_numbers(
    seed: str, open_page: OpenPage
) -> None:
    page = open_page(seed)
    cell(page, "batch_mean").click()
    panel = page.get_by_role("complementary", name="Why 2.8889?")
    expect(panel).to_be_visible()
    asked = panel.locator(".is-asked")
    expect(asked).to_contain_text("(3.6667 + 3 + 2) ÷ 3")
    expect(asked.locator('[data-code="short-last-batch"]')).to_contain_text(
        "below per item because the last batch holds 2 of 3 items"
    )
    expect(panel.locator('[data-view="per_item"]')).to_contain_text("(11 + 9 + 4) ÷ (3 + 3 + 2) = 3")
    assert page.url.endswith("&why=seed,train/loss,last,batch_mean")
    expect(page.locator("#epochs-chart")).to_be_visible()
    cell(page, "batch_mean").click()
    expect(panel).to_be_hidden()
    assert "why" not in page.url


def test_runs_own_framework_comes_first_with_its_version(seed: str, open_page: OpenPage) -> None:
    page = open_page(f"{seed}&why=seed,train/loss,0")
    first = page.locator(".why-printed").first
    expect(first).to_contain_text("Your Keras 3.14.1")
    expect(first).to_contain_text("3.6667  3.5000  3.3333")
    expect(page.locator('[data-tool="fastai"]')).to_be_hidden()
    page.get_by_text("What other tools would print").click()
    expect(page.locator('[data-tool="fastai"]')).to_contain_text("2.8777")


def test_keyboard_asks_reads_and_goes_back_to_the_number(seed: str, open_page: OpenPage) -> None:
    page = open_page(seed)
    cell(page, "per_item").focus()
    page.keyboard.press("ArrowLeft")
    expect(cell(page, "batch_mean")).to_be_focused()
    expect(cell(page, "batch_mean")).to_have_accessible_name(
        "2.8889: batch mean of run seed train, epoch 0. Why?"
    )
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Why 2.8889?")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#why")).to_be_hidden()
    expect(cell(page, "batch_mean")).to_be_focused()
    assert page.locator("#values button[tabindex='0']").count() == 1


def test_panel_goes_along_with_the_newest_complete_epoch_and_back_by_its_stepper(
    filled: Any, open_page: OpenPage, make_seed_rows: Rows
) -> None:
    filled.make("live", [*make_seed_rows(2), *make_seed_rows(4, epoch=1)], finished=False)
    page = open_page("/?run=live&why=live,train/loss,last,raw_sum")
    epoch = page.locator(".why-epoch")
    expect(epoch).to_have_text("epoch 0")
    expect(page.get_by_role("heading", name="Why 12.0000?")).to_be_visible()
    filled.add("live", make_seed_rows(8, epoch=2))
    expect(epoch).to_have_text("epoch 1")
    expect(page.get_by_role("heading", name="Why 6.0000?")).to_be_visible()
    page.get_by_role("button", name="Earlier epoch").click()
    expect(page.get_by_role("heading", name="Why 12.0000?")).to_be_visible()
    assert page.url.endswith("why=live,train/loss,0,raw_sum")
    page.get_by_role("button", name="Later epoch").click()
    assert page.url.endswith("why=live,train/loss,last,raw_sum")
    page.get_by_role("checkbox", name="run live, running").uncheck()
    expect(page.locator("#why")).to_be_hidden()


def test_epoch_that_is_not_there_is_told_with_a_way_on(seed: str, open_page: OpenPage) -> None:
    page = open_page(f"{seed}&why=seed,train/loss,99")
    tell = page.locator(".why-tell")
    expect(tell).to_contain_text("99")
    expect(tell.get_by_role("button", name="Try again")).to_be_visible()
    page.locator("#why").get_by_role("button", name="Close").click()
    expect(page.locator("#why")).to_be_hidden()


def test_what_is_no_loss_is_told_in_the_panel_and_what_was_lost_as_a_notice(
    service: Service, filled: Any, open_page: OpenPage, make_seed_rows: Rows
) -> None:
    filled.make("closures", make_seed_rows(2))
    beat = {"writer": "01J0000000000000000000PAGE", "records": [], "state": "finished"}
    counted = {"closure": 12, "queue-full": 3}
    service.send(
        "POST", "/api/v1/runs/closures/records", beat | {"attempt": 0, "rank": 0, "dropped": counted}
    )
    page = open_page("/?run=closures&why=closures,train/loss,0")
    expect(page.locator(".facts")).to_contain_text("12 closure in the whole run")
    expect(page.locator('[data-notice="lost closures"]')).to_have_text(
        "run closures lacks 3 records (queue-full 3)."
    )


def test_table_keeps_its_columns_beside_the_answer(
    filled: Any, open_page: OpenPage, make_seed_rows: Rows
) -> None:
    filled.make("parted", [*make_seed_rows(3, rank=0), *make_seed_rows(2, rank=1)])
    page = open_page("/?run=parted&why=parted,train/loss,last,batches")
    facts = page.locator("#why")
    expect(facts).to_contain_text("7, each of up to 3 items")
    table = page.locator("#values .scroller")
    assert table.evaluate("(element) => element.scrollWidth - element.clientWidth") == 0


def test_point_of_the_epoch_chart_answers_a_click(seed: str, open_page: OpenPage) -> None:
    page = open_page(seed)
    page.locator("#epochs-chart .scatterlayer .point").first.wait_for()
    drag = page.locator("#epochs-chart .nsewdrag").first
    place = page.evaluate(
        """() => {
        const point = document.querySelector("#epochs-chart .scatterlayer .point").getBoundingClientRect();
        return [point.x + point.width / 2, point.y + point.height / 2];
    }"""
    )
    drag.wait_for()
    page.mouse.move(*place)
    page.mouse.click(*place)
    expect(page.get_by_role("heading", name="Why 3.0000?")).to_be_visible()


def test_phone_shows_the_answer_as_a_sheet_below_the_chart(seed: str, open_page: OpenPage) -> None:
    page = open_page(f"{seed}&why=seed,train/loss,last,items")
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    expect(page.locator(".facts .is-asked")).to_contain_text("8")
    sheet = page.locator("#why").bounding_box()
    assert sheet is not None
    assert sheet["width"] == PHONE["width"]
    assert sheet["y"] > PHONE["height"] * 0.3
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    cell(page, "raw_sum").scroll_into_view_if_needed()
    cell(page, "raw_sum").click()
    expect(page.locator("#why h2")).to_have_text("Why 8.6667?")


def cell(page: Page, field: str) -> Locator:
    """Return the button of one number of the table's first row."""
    return page.locator(f'#values td[data-field="{field}"] button').first
