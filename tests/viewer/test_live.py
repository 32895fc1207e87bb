from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from datalake_service import S3DataTool
from tests.support.browser import BrowserThread
from tests.support.viewer_lake import annotate_once, write_posts
from tests.support.viewer_page import cell, open_rows, status
from tests.support.viewer_server import ViewerServer


class Growing:
    """A lake that grows while somebody looks. Tests run in the browser's thread, where nothing else may have a loop."""

    def __init__(self, folder: Path) -> None:
        """There is nothing in it yet."""
        self.tool = S3DataTool(str(folder))
        self.rows = 0

    def grow(self, rows: int, *, merge: bool = False) -> None:
        """Write some more rows."""
        write_posts(self.tool, range(self.rows, self.rows + rows), merge=merge)
        self.rows += rows


@pytest.fixture
def growing(tmp_path: Path) -> Growing:
    """Ten merged rows."""
    lake = Growing(tmp_path / "lake")
    lake.grow(10, merge=True)
    return lake


@pytest.fixture
def server(growing: Growing, tmp_path: Path, browser_thread: BrowserThread) -> Iterator[ViewerServer]:
    """A viewer of that lake."""
    with ViewerServer(tmp_path / "lake") as server:
        yield server


def test_new_rows_wait_until_they_are_wanted(
    new_page: Callable[..., Page], server: ViewerServer, growing: Growing
) -> None:
    """Counts change by themselves; rows do not jump under the cursor: a chip says how many are new."""
    page = new_page(base_url=server.url)
    open_rows(page, "/d/posts?columns=n")
    expect(status(page)).to_contain_text("10 rows")
    expect(page.locator(".live")).to_have_text("Live")
    growing.grow(3)
    chip = page.get_by_role("button", name="3 new rows")
    expect(chip).to_be_visible()
    expect(status(page)).to_contain_text("13 rows")
    expect(cell(page, "n")).to_have_text("9")
    growing.grow(2, merge=True)
    chip = page.get_by_role("button", name="5 new rows")
    expect(chip).to_be_visible()
    chip.click()
    expect(cell(page, "n")).to_have_text("14")
    expect(page.locator(".fresh")).to_have_count(0)
    annotate_once(growing.tool)
    expect(page.get_by_role("button", name="Changed, load again")).to_be_visible()
    page.keyboard.press("n")
    expect(page.locator(".fresh")).to_have_count(0)
    expect(status(page)).to_contain_text("15 rows")


def test_new_rows_that_do_not_match_are_no_news(
    new_page: Callable[..., Page], server: ViewerServer, growing: Growing
) -> None:
    """What is counted is what the filter lets through."""
    page = new_page(base_url=server.url)
    open_rows(page, "/d/posts?columns=n&filter=all(range(field=n,ge=5,lt=12))")
    expect(status(page)).to_contain_text("5 rows match")
    growing.grow(6)
    expect(page.get_by_role("button", name="2 new rows")).to_be_visible()
    expect(status(page)).to_contain_text("7 rows match")


def test_the_page_finds_its_server_again(new_page: Callable[..., Page], server: ViewerServer, growing: Growing) -> None:
    """A viewer that was restarted is found, and what changed meanwhile is shown."""
    lake, rows = new_page(base_url=server.url), new_page(base_url=server.url)
    lake.goto("/")
    expect(lake.locator(".dataset", has_text="posts")).to_contain_text("10 rows")
    open_rows(rows, "/d/posts?columns=n")
    for page in (lake, rows):
        expect(page.locator(".live")).to_have_text("Live")
    server.stop()
    for page in (lake, rows):
        expect(page.locator(".live")).to_have_text("Reconnecting")
    growing.grow(4, merge=True)
    server.start()
    for page in (lake, rows):
        expect(page.locator(".live")).to_have_text("Live")
    expect(lake.locator(".dataset", has_text="posts")).to_contain_text("14 rows")
    expect(rows.get_by_role("button", name="4 new rows")).to_be_visible()


def test_an_empty_lake_fills_before_ones_eyes(
    new_page: Callable[..., Page], tmp_path: Path, browser_thread: BrowserThread
) -> None:
    """The first dataset appears, then its rows, without a reload."""
    lake = Growing(tmp_path / "empty")
    (tmp_path / "empty").mkdir()
    with ViewerServer(tmp_path / "empty") as server:
        page = new_page(base_url=server.url)
        page.goto("/")
        expect(page.get_by_text("This lake is empty")).to_be_visible()
        expect(page.locator(".live")).to_have_text("Live")
        lake.grow(2)
        page.get_by_role("link", name="posts", exact=True).click()
        expect(status(page)).to_contain_text(re.compile("2 rows"))
