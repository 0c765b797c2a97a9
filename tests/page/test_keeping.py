"""The menu of a run: edit, archive, restore, delete; what others do is followed."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import APIResponse, Page, Route, expect

from processes import Service

pytestmark = pytest.mark.page

OpenPage = Callable[[str], Page]
COLOURED = (
    "() => document.getElementById('epochs-chart').data.some((t) => t.line?.color === 'rgb(0, 160, 80)')"
)


@pytest.fixture(autouse=True)
def runs(filled: Any) -> None:
    """Two runs that have ended."""
    filled.make_training("ten", 10)
    filled.make_training("twenty", 20)


def open_menu(page: Page, run: str) -> None:
    """Open a run's menu with the mouse."""
    page.locator(f'li[data-run="{run}"]').hover()
    page.locator(f'li[data-run="{run}"] .run-more').click()
    expect(page.get_by_role("menu")).to_be_visible()


def choose(page: Page, run: str, item: str) -> None:
    """Choose an item of a run's menu."""
    open_menu(page, run)
    page.get_by_role("menuitem", name=item).click()


def test_a_run_is_renamed_described_and_coloured(open_page: OpenPage, service: Service) -> None:
    page = open_page("/?run=ten")
    choose(page, "ten", "Edit…")
    dialog = page.get_by_role("dialog", name="Edit run")
    dialog.get_by_label("Name").fill("the one in the paper")
    dialog.get_by_label("Tags").fill("wide, , paper")
    dialog.get_by_label("Notes").fill("Seed 3.\nSee table 4.")
    dialog.get_by_label("Its own").check()
    dialog.get_by_label("Own colour").fill("#00a050")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_hidden()
    expect(page.locator('li[data-run="ten"] .run-name')).to_have_text("the one in the paper")
    expect(page.locator('li[data-run="ten"] .run-tags')).to_have_text("#wide #paper")
    expect(page.locator(".status-notes")).to_have_text("Seed 3.\nSee table 4.")
    page.wait_for_function(COLOURED)
    shown = service.get("/api/v1/runs/ten")
    assert (shown["name"], shown["tags"], shown["notes"], shown["colour"]) == (
        *("the one in the paper", ["wide", "paper"], "Seed 3.\nSee table 4.", "#00a050"),
    )
    assert shown["edited"] == ["colour", "name", "notes", "tags"]


def test_what_the_service_refuses_is_told_in_the_dialog(open_page: OpenPage, filled: Any) -> None:
    filled.make_seed("refused", 2)
    page = open_page("/?run=refused")
    choose(page, "refused", "Edit…")
    dialog = page.get_by_role("dialog", name="Edit run")
    dialog.get_by_label("Tags").fill("x" * 101)
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("tags")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_the_keyboard_opens_the_menu_and_comes_back_from_it(open_page: OpenPage) -> None:
    page = open_page("/?run=ten")
    box = page.get_by_role("checkbox", name="run ten, finished")
    box.focus()
    page.keyboard.press("Tab")
    button = page.get_by_role("button", name="More for run ten")
    expect(button).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("menuitem", name="Edit…")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("menuitem", name="Archive")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("menu")).to_be_hidden()
    expect(button).to_be_focused()
    expect(button).to_have_attribute("aria-expanded", "false")


def test_a_run_is_archived_found_again_restored_and_deleted(open_page: OpenPage, service: Service) -> None:
    page = open_page("/?run=ten&run=twenty")
    rows = page.locator("#run-list li")
    expect(rows).to_have_count(2)
    expect(page.locator("#archived")).to_be_hidden()
    choose(page, "ten", "Archive")
    expect(rows).to_have_count(1)
    expect(page.locator("#run-list input:checked")).to_have_count(1)
    page.get_by_role("button", name="Archived 1").click()
    expect(page.locator("#run-list .run-name")).to_have_text("run ten")
    choose(page, "ten", "Restore")
    expect(rows).to_have_count(0)
    page.get_by_role("button", name="Back to the runs").click()
    expect(rows).to_have_count(2)
    choose(page, "ten", "Archive")
    page.get_by_role("button", name="Archived 1").click()
    choose(page, "ten", "Delete…")
    dialog = page.get_by_role("dialog", name="Delete run ten?")
    expect(dialog).to_contain_text("84 records, about")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    dialog.get_by_role("button", name="Cancel").click()
    assert service.get("/api/v1/runs?archived=only")["total"] == 1
    choose(page, "ten", "Delete…")
    dialog.get_by_role("button", name="Delete").click()
    expect(dialog).to_be_hidden()
    expect(rows).to_have_count(0)
    assert service.get("/api/v1/runs?archived=only")["total"] == 0


def test_a_page_follows_what_others_archive_and_delete(
    open_page: OpenPage, service: Service, filled: Any
) -> None:
    filled.make_seed("deleted", 2)
    page = open_page("/?run=deleted")
    rows = page.locator("#run-list li")
    expect(rows).to_have_count(3)
    service.send("PATCH", "/api/v1/runs/ten", {"archived": True})
    expect(rows).to_have_count(2)
    expect(page.get_by_role("button", name="Archived 1")).to_be_visible()
    service.send("PATCH", "/api/v1/runs/deleted", {"archived": True, "name": "put away"})
    expect(page.locator('li[data-run="deleted"] .run-name')).to_have_text("put away")
    service.fetch("DELETE", "/api/v1/runs/deleted")
    expect(rows).to_have_count(1)
    expect(page.locator(".notice")).to_contain_text("There is no run deleted here. It may have been deleted.")
    assert "run=deleted" not in page.url


def test_the_archive_can_be_reached_where_every_run_is_in_it(open_page: OpenPage, service: Service) -> None:
    for run in ("ten", "twenty"):
        service.send("PATCH", f"/api/v1/runs/{run}", {"archived": True})
    page = open_page("/")
    page.get_by_role("button", name="Archived 2").click()
    expect(page.locator("#run-list li")).to_have_count(2)


def test_archive_counts_a_run_once_where_the_list_is_quicker_than_the_answer(open_page: OpenPage) -> None:
    page = open_page("/?run=twenty")
    held: list[tuple[Route, APIResponse]] = []
    page.route("**/api/v1/runs/ten", lambda route: held.append((route, route.fetch())))
    choose(page, "ten", "Archive")
    expect(page.locator("#run-list li")).to_have_count(1)
    expect(page.get_by_role("button", name="Archived 1")).to_be_visible()
    (route, answer) = held[0]
    route.fulfill(response=answer)
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.wait_for_timeout(200)  # for what would come of the answer
    expect(page.get_by_role("button", name="Archived 1")).to_be_visible()
