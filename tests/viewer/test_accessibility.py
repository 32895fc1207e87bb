from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.support.viewer_page import open_rows
from tests.support.viewer_server import ViewerServer

PAGES = {
    "lake": "/",
    "rows": "/d/posts?openBatch=2026-11-20&open=post-0047&filter=all(equals(field=lang.label,value=en))",
    "hostile rows": "/d/hostile",
    "row": "/d/posts/row?batch=2026-11-20&id=post-0047",
    "charts": "/d/posts/charts",
    "one column": "/d/posts/charts?column=lang.label&against=pinned",
    "operations": "/operations",
    "rejections": "/operations?show=rejections&dataset=tracebacks",
    "failures": "/operations?show=failures&dataset=posts",
}
READY = "main :is(.tr, .card, .panel .facts)"


def faults(page: Page, options: dict[str, Any] | None = None) -> list[str]:
    """What axe finds that keeps people from using a page."""
    found = Axe().run(page, options={"resultTypes": ["violations"], **(options or {})}).response["violations"]
    return [
        f"{fault['id']}: {node['html'][:160]} {node['any'][0]['message'] if node['any'] else ''}"
        for fault in found
        if fault["impact"] in {"serious", "critical"}
        for node in fault["nodes"][:3]
    ]


def go(page: Page, address: str) -> None:
    """Go somewhere, and wait until everything is there."""
    page.goto(address)
    expect(page.locator(".loading")).to_have_count(0)
    expect(page.locator(READY).first).to_be_visible()
    expect(page.locator("[aria-busy=true]")).to_have_count(0)


@pytest.mark.parametrize("name", PAGES)
def test_everybody_can_use_a_page(new_page: Callable[..., Page], viewer: ViewerServer, name: str) -> None:
    """No serious fault: names, roles, order, and contrast in light and in dark."""
    page = new_page(base_url=viewer.url, reduced_motion="reduce", color_scheme="light")
    go(page, PAGES[name])
    assert faults(page) == []
    page.emulate_media(color_scheme="dark")
    expect(page.locator("body")).to_have_css("background-color", "rgb(14, 19, 25)")
    assert faults(page, {"runOnly": ["color-contrast"]}) == []


@pytest.mark.parametrize("name", ["lake", "rows", "row", "one column", "failures"])
def test_narrow_screens(new_page: Callable[..., Page], viewer: ViewerServer, name: str) -> None:
    """Nothing but tables scrolls sideways, an open row takes the whole screen, and there is no serious fault."""
    page = new_page(base_url=viewer.url, reduced_motion="reduce", viewport={"width": 360, "height": 700})
    go(page, PAGES[name])
    width = page.evaluate("Math.max(document.body.scrollWidth, document.querySelector('main').scrollWidth)")
    assert width <= 360
    if name == "rows":
        box = page.get_by_role("complementary", name="Row").bounding_box()
        assert box is not None
        assert box["width"] == 360
        assert faults(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_every_dialog(new_page: Callable[..., Page], viewer: ViewerServer, scheme: str) -> None:
    """The same for what opens over a page; the focus is caught in it and goes back to where it was."""
    page = new_page(base_url=viewer.url, reduced_motion="reduce", color_scheme=scheme)
    only = {"runOnly": ["color-contrast"]} if scheme == "dark" else {}
    open_rows(page, "/d/posts?filter=all(equals(field=lang.label,value=en),any(raw_duck(sql=~n+%3E+1~)))")
    for name in ("Filter", "Columns", "Export"):
        opener = page.locator(".toolbar").get_by_role("button", name=name)
        opener.click()
        dialog = page.get_by_role("dialog", name=name)
        expect(dialog).to_be_visible()
        if name == "Export":
            expect(dialog.get_by_role("region", name="Command")).to_be_visible()
        assert faults(page, only) == [], name
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        expect(opener).to_be_focused()
    page.get_by_role("button", name="Keys and help").click()
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    assert faults(page, only) == []


def test_the_keyboard_is_enough(page: Page) -> None:
    """From the address bar to a row and back without a mouse; the first stop leads past the head of the page."""
    open_rows(page, "/d/posts")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.get_by_role("complementary", name="Row")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox", name="Search")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("searchbox", name="Search")).not_to_be_focused()
