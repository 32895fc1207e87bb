from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.support.viewer_lake import MERGED, UNMERGED


def test_the_lake_at_a_glance(page: Page) -> None:
    """Datasets with rows, batches, size, columns, and how far their annotators are."""
    page.goto("/")
    posts = page.locator(".dataset", has_text="posts")
    expect(posts).to_contain_text(f"{MERGED} rows")
    expect(posts).to_contain_text(f"{UNMERGED} not merged, in 3 chunks")
    expect(posts).to_contain_text("2 batches")
    expect(posts).to_contain_text(re.compile("[0-9.]+ KB"))
    lang = posts.locator(".coverage", has_text="lang")
    expect(lang).to_contain_text("253 done")
    expect(lang).to_contain_text("7 failed")
    expect(lang.get_by_role("img")).to_have_attribute("aria-label", "done 253, skipped 0, failed 7, pending 0")
    expect(posts.locator(".coverage", has_text="ask")).to_contain_text("pending")
    expect(page.locator(".tile", has_text="Datasets")).to_contain_text("3")
    expect(page.locator(".tile", has_text="Not merged yet")).to_contain_text(str(UNMERGED))


def test_links_lead_on(page: Page) -> None:
    """To the rows, the charts, and to what failed, without loading the page again."""
    page.goto("/")
    page.evaluate("window.stayed = true")
    page.get_by_role("link", name="7 failed").click()
    expect(page).to_have_url(re.compile("/operations.*show=failures"))
    expect(page.get_by_role("button", name="lang, TimeoutError: 7 rows. Show them.")).to_be_visible()
    page.go_back()
    page.locator(".dataset", has_text="posts").get_by_role("link", name="Charts").click()
    expect(page.locator(".chart-card").first).to_be_visible()
    page.get_by_role("link", name="Lake", exact=True).click()
    page.get_by_role("link", name="posts", exact=True).click()
    expect(page.get_by_role("grid")).to_be_visible()
    assert page.evaluate("window.stayed")


def test_activity(page: Page) -> None:
    """Rows over time, per minute, hour and day, of all datasets or one; the address remembers."""
    page.goto("/")
    chart = page.get_by_role("region", name="Activity").get_by_role("img")
    expect(chart).to_have_attribute("aria-label", re.compile("[1-9][0-9]* rows"))
    page.get_by_role("button", name="minute").click()
    expect(page).to_have_url(re.compile("bucket=minute"))
    expect(chart).to_have_attribute("aria-label", re.compile("in one minute"))
    page.get_by_role("button", name="hostile. Filter by it.").click()
    expect(page).to_have_url(re.compile("dataset=hostile"))
    expect(chart).to_have_attribute("aria-label", re.compile(": 8 rows"))
    page.reload()
    expect(chart).to_have_attribute("aria-label", re.compile(": 8 rows, at most [0-9] in one minute"))
    page.get_by_role("button", name="All datasets").click()
    expect(page).not_to_have_url(re.compile("dataset="))


def test_colours_and_help(page: Page) -> None:
    """Light, dark or as the system has it, remembered by the browser; the question mark tells the keys."""
    page.goto("/")
    expect(page.get_by_role("link", name="posts", exact=True)).to_be_visible()
    dark = "rgb(14, 19, 25)"
    page.keyboard.press("t")
    expect(page.get_by_role("button", name="Colours: light")).to_be_visible()
    page.keyboard.press("t")
    expect(page.locator("body")).to_have_css("background-color", dark)
    page.reload()
    expect(page.locator("body")).to_have_css("background-color", dark)
    page.emulate_media(color_scheme="light")
    page.get_by_role("button", name="Colours: dark").click()
    expect(page.locator("body")).not_to_have_css("background-color", dark)
    page.emulate_media(color_scheme="dark")
    expect(page.locator("body")).to_have_css("background-color", dark)
    page.keyboard.press("?")
    help_ = page.get_by_role("dialog", name="Keys")
    expect(help_).to_contain_text("The lake")
    page.keyboard.press("Escape")
    expect(help_).to_have_count(0)
