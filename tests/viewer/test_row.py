from __future__ import annotations

import json
import re

from playwright.sync_api import Page, expect

from tests.support.viewer_page import open_rows


def test_a_row_opens_beside_the_table(page: Page) -> None:
    """With a click or enter; j and k step through rows; escape closes it; the address brings it back."""
    open_rows(page, "/d/posts")
    page.locator('.tbody .tr[aria-rowindex="4"] .td[data-column="n"]').click()
    panel = page.get_by_role("complementary", name="Row")
    expect(panel).to_contain_text("post-0270")
    page.keyboard.press("j")
    expect(panel).to_contain_text("post-0269")
    page.keyboard.press("k")
    page.keyboard.press("k")
    expect(panel).to_contain_text("post-0271")
    expect(page.locator(".tbody .tr.selected")).to_contain_text("271")
    page.reload()
    expect(panel).to_contain_text("post-0271")
    expect(page.locator(".tbody .tr.selected")).to_contain_text("271")
    page.keyboard.press("Escape")
    expect(panel).to_have_count(0)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(panel).to_contain_text("post-0270")
    panel.get_by_role("button", name="Next row").click()
    expect(panel).to_contain_text("post-0269")
    panel.get_by_role("link", name="Page").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("post-0269")
    page.keyboard.press("Escape")
    expect(page.get_by_role("grid")).to_be_visible()


def test_everything_about_a_row(page: Page) -> None:
    """Fields, annotations with cost, time and attempts, errors, metadata; nested values open and close."""
    page.goto("/d/posts/row?batch=2026-11-20&id=post-0046")
    fields = page.get_by_label("Fields of the row")
    expect(fields).to_contain_text("The ferry sells the best rye bread")
    expect(fields).to_contain_text("https://example.com/harbour/46")
    lang = page.get_by_label("Annotation by lang")
    expect(lang).to_contain_text("done")
    expect(lang.locator(".facts")).to_contain_text("cost 0.002")
    expect(lang.locator(".facts")).to_contain_text("tokens 40 in, 3 out")
    expect(lang.locator(".facts")).to_contain_text("attempts 1")
    expect(lang).to_contain_text("model")
    expect(lang.get_by_label("Columns of lang")).to_contain_text("0.96")
    depth = fields.get_by_role("button", name=re.compile("^.?depth:"))
    expect(fields).to_contain_text("list")
    fields.get_by_role("button", name=re.compile("^.?list:")).click()
    fields.get_by_role("button", name=re.compile("^.?1:")).click()
    expect(fields).to_contain_text("two: null")
    depth.click()
    expect(depth).to_have_attribute("aria-expanded", "false")
    expect(fields).not_to_contain_text("list")
    page.goto("/d/posts/row?batch=2026-11-20&id=post-0047")
    failed = page.get_by_label("Annotation by lang")
    expect(failed).to_contain_text("failed")
    expect(failed).to_contain_text("TimeoutError: no answer for row 47")
    expect(failed.locator(".symbol")).to_have_text("ESC")


def test_neighbours_and_links(page: Page) -> None:
    """On to the next row and back; the link and the row as JSON can be copied."""
    page.goto("/d/posts/row?batch=2026-11-21&id=post-0200")
    expect(page.get_by_label("Fields of the row")).to_be_visible()
    page.get_by_role("link", name="Next").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("post-0199")
    expect(page.get_by_role("link", name="Previous")).to_be_visible()
    page.keyboard.press("k")
    expect(page.get_by_role("heading", level=1)).to_have_text("post-0200")
    expect(page.get_by_label("Fields of the row")).to_contain_text("200")
    page.get_by_role("button", name="Copy JSON").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    row = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert row["id"] == "post-0200"
    assert row["fields"]["n"] == 200
    assert row["annotations"]["lang"]["fields"]["label"] == "en"
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Copied").last).to_be_visible()
    page.goto("/")
    page.goto(page.evaluate("navigator.clipboard.readText()"))
    expect(page.get_by_label("Fields of the row")).to_contain_text("200")


def test_an_unmerged_row_says_so(page: Page) -> None:
    """It is a row like any other, but for a mark."""
    page.goto("/d/posts/row?batch=2026-11-21&id=post-0265")
    expect(page.get_by_text("not merged yet")).to_be_visible()
    expect(page.get_by_label("Fields of the row")).to_contain_text("265")


def test_a_row_that_is_not_there(page: Page) -> None:
    """The page says so; an address that names none says that."""
    page.goto("/d/posts/row?batch=2026-11-21&id=nobody")
    expect(page.get_by_role("alert")).to_contain_text("nobody")
    page.goto("/d/posts/row")
    expect(page.get_by_text("This address names no row")).to_be_visible()
