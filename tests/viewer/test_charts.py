from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.support.viewer_lake import MERGED, ROWS, post
from tests.support.viewer_page import cells, status


def test_every_column_at_a_glance(page: Page) -> None:
    """A card for each column, with distinct values and nulls; a card leads to its column."""
    page.goto("/d/posts/charts")
    card = page.locator(".chart-card", has_text="score")
    expect(card).to_contain_text("distinct")
    expect(card).to_contain_text("% null")
    expect(page.locator(".chart-card")).to_have_count(10)
    page.get_by_role("button", name="label", exact=True).click()
    expect(page).to_have_url(re.compile("column=lang.label"))
    expect(page.get_by_role("heading", name="lang.label")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".chart-card")).to_have_count(10)


def test_the_values_of_a_column(page: Page) -> None:
    """Top values with their counts; a click on a bar filters by it, here and in the table."""
    page.goto("/d/posts/charts?column=lang.label")
    german = sum(number % 7 == 3 and number % 40 != 7 for number in range(MERGED))
    bar = page.get_by_role("button", name=f"de: {german} rows. Filter by it.")
    expect(bar).to_contain_text("%")
    expect(page.locator(".tiles")).to_contain_text("Distinct")
    bar.click()
    expect(status(page)).to_contain_text(f"{german} rows")
    expect(page.locator(".chips")).to_contain_text("lang.label is “de”")
    page.get_by_role("link", name="Show them").click()
    expect(status(page)).to_contain_text(f"{german} rows match")
    expect(cells(page, "label").first).to_have_text("de")


def test_a_histogram_filters(page: Page) -> None:
    """Numbers have a histogram; one of its bars selects exactly its rows."""
    page.goto("/d/posts/charts?column=n")
    chart = page.get_by_role("group", name="Values of n")
    bar = chart.get_by_role("button").nth(3)
    label = bar.get_attribute("aria-label") or ""
    rows = int(re.findall(r": ([0-9]+) rows", label)[0])
    bar.click()
    expect(status(page)).to_contain_text(f"{rows} rows")
    page.goto("/d/posts/charts?column=n")
    bar = chart.get_by_role("button").last
    expect(bar).to_be_visible()
    rows = int(re.findall(r": ([0-9]+) rows", bar.get_attribute("aria-label") or "")[0])
    bar.click()
    expect(status(page)).to_contain_text(f"{rows} rows")


def test_lengths_of_texts(page: Page) -> None:
    """Long texts are told by their lengths; a bar selects those."""
    page.goto("/d/posts/charts?column=text")
    chart = page.get_by_role("group", name="Lengths of text")
    bar = chart.get_by_role("button").first
    rows = int(re.findall(r": ([0-9]+) rows", bar.get_attribute("aria-label") or "")[0])
    bar.click()
    expect(status(page)).to_contain_text(f"{rows} rows")
    expect(page.locator(".chips")).to_contain_text("length(text) >=")


def test_over_time(page: Page) -> None:
    """Values by when their rows were written, per bucket; the bucket stands in the address."""
    page.goto("/d/posts/charts?column=pinned")
    section = page.get_by_role("region", name="Over time")
    expect(section.get_by_role("img")).to_have_attribute("aria-label", re.compile(f"{ROWS} rows"))
    for bucket in ("minute", "week", "month", "day"):
        section.get_by_label("Bucket of time").select_option(bucket)
        expect(page).to_have_url(re.compile(f"bucket={bucket}"))
        expect(section).to_have_attribute("aria-busy", "false")
        expect(section.get_by_role("img")).to_have_attribute("aria-label", re.compile(f"{ROWS} rows"))
    section.get_by_role("button", name="true. Filter by it.").click()
    expect(status(page)).to_contain_text(f"{sum(post(number)['pinned'] for number in range(ROWS))} rows")


def test_two_columns_against_each_other(page: Page) -> None:
    """A table of counts; a cell selects by both."""
    page.goto("/d/posts/charts?column=lang.label")
    page.get_by_label("Another column", exact=True).select_option("pinned")
    expect(page).to_have_url(re.compile("against=pinned"))
    expected = sum(number % 7 == 3 and number % 40 != 7 and post(number)["pinned"] for number in range(MERGED))
    page.get_by_role("button", name=f"de, true: {expected} rows. Filter by both.").click()
    expect(status(page)).to_contain_text(f"{expected} rows")
    page.go_back()
    expect(status(page)).to_contain_text(f"{ROWS} rows")


def test_charts_of_a_selection(page: Page) -> None:
    """Charts show what the filter, the search and the batch leave, and change with them."""
    page.goto("/d/posts/charts?column=pinned&batch=2026-11-20")
    expect(status(page)).to_contain_text(f"{MERGED // 2} rows")
    page.get_by_role("searchbox", name="Search").fill("museum")
    expect(status(page)).not_to_contain_text(f"{MERGED // 2} rows")
    expected = sum("museum" in post(number)["text"].lower() for number in range(MERGED // 2))
    expect(status(page)).to_contain_text(f"{expected} rows")
    expect(page.locator(".tiles")).to_contain_text(str(expected))
