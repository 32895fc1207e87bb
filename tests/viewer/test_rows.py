from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.support.viewer_lake import MERGED, ROWS, UNMERGED
from tests.support.viewer_page import cell, cells, open_rows, status

DRAWN = """(rows) => rows.map((row) => [
  row.getAttribute("aria-rowindex") - 3, row.querySelector("[data-column=n]").textContent,
])"""


def test_rows_come_newest_first_with_their_values(page: Page) -> None:
    """Merged and unmerged rows, decoded values, links, nulls and nested values that can be read."""
    open_rows(page, "/d/posts")
    expect(status(page)).to_contain_text(f"{ROWS} rows")
    expect(cell(page, "n")).to_have_text(str(ROWS - 1))
    link = cell(page, "url").get_by_role("link")
    expect(link).to_have_attribute("href", re.compile(r"https://example\.com/\w+/271"))
    expect(link).to_have_attribute("rel", re.compile("noopener.*noreferrer"))
    expect(cell(page, "tags")).to_contain_text('"depth":{"list":[1,{"two":null}]}')
    expect(cell(page, "pinned")).to_have_text("false")
    expect(cell(page, "label")).to_have_text("null")
    expect(page.locator(".tbody .tr.unmerged")).to_have_count(UNMERGED)
    expect(page.locator(".tbody .tr.unmerged").first).to_contain_text("not merged yet")


def test_only_what_is_seen_is_drawn_and_asked_for(page: Page) -> None:
    """Scrolling brings page after page; every row is there once; what left the screen leaves the document."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/rows?" in request.url else None)
    open_rows(page, "/d/posts?columns=n")
    expect(cell(page, "n")).to_have_text(str(ROWS - 1))
    assert len(asked) <= 2
    seen: dict[int, int] = {}
    for number in range(0, ROWS, 8):
        page.locator(".table").evaluate("(table, y) => { table.scrollTop = y; }", number * 70)
        expect(cell(page, "n", number)).to_have_text(re.compile("[0-9]"))
        seen |= {
            int(index): int(value) for index, value in page.locator(".tbody .tr:not(.pending)").evaluate_all(DRAWN)
        }
    assert seen == {index: ROWS - 1 - index for index in range(ROWS)}
    assert page.locator(".tbody .tr").count() < 60
    assert len(asked) == -(-ROWS // 60)


def test_sorting_by_a_column(page: Page) -> None:
    """One click: smallest first, two: largest first, three: newest first again. Annotations sort, too."""
    open_rows(page, "/d/posts")
    head = page.get_by_role("button", name="score", exact=True)
    head.click()
    expect(page.locator(".th.sorted")).to_have_attribute("aria-sort", "ascending")
    expect(cell(page, "score")).to_have_text(re.compile(r"^-?[0-9.]+$"))
    smallest = float(cell(page, "score").inner_text())
    head.click()
    expect(page.locator(".th.sorted")).to_have_attribute("aria-sort", "descending")
    expect(cell(page, "score")).not_to_have_text(str(smallest))
    assert float(cell(page, "score").inner_text()) > smallest
    head.click()
    expect(page.locator(".th.sorted")).to_have_count(0)
    page.get_by_role("button", name="confidence", exact=True).click()
    expect(cell(page, "confidence")).to_have_text("0.5")


def test_search_in_a_column(page: Page) -> None:
    """The slash leads there; matches are counted; escape empties it; another column can be searched."""
    open_rows(page, "/d/posts")
    expect(status(page)).to_contain_text(f"{ROWS} rows")
    page.keyboard.press("/")
    page.keyboard.type("MUSEUM IST")
    expect(status(page)).to_contain_text("match")
    expect(cell(page, "text")).to_have_text("Das Museum ist montags geschlossen.")
    expect(page.locator(".chips")).to_contain_text("text has “MUSEUM IST”")
    page.keyboard.press("Escape")
    expect(status(page)).to_contain_text(f"{ROWS} rows")
    page.get_by_label("Column to search").select_option("url")
    page.get_by_role("searchbox", name="Search").fill("/27")
    expect(cell(page, "url")).to_contain_text("/271")
    page.get_by_role("searchbox", name="Search").fill("no such thing at all")
    expect(page.get_by_text("No rows match")).to_be_visible()
    page.get_by_role("button", name="Show all rows").click()
    expect(status(page)).to_contain_text(f"{ROWS} rows")


def test_one_batch(page: Page) -> None:
    """Rows of one batch only, and all of them again."""
    open_rows(page, "/d/posts")
    page.get_by_label("Batch").select_option("2026-11-20")
    expect(status(page)).to_contain_text(f"{MERGED // 2} rows match")
    expect(cell(page, "n")).to_have_text(re.compile(f"^({MERGED // 2 - 1}|[0-9]+)$"))
    page.get_by_role("button", name="Remove: batch 2026-11-20").click()
    expect(status(page)).to_contain_text(f"{ROWS} rows")


def test_rows_at_random(page: Page) -> None:
    """A sample is drawn, drawn anew, kept in the address, and let go."""
    open_rows(page, "/d/posts?columns=n&sample=20&seed=3")
    expect(status(page)).to_contain_text("20 rows")
    before = cells(page, "n").all_inner_texts()
    page.reload()
    expect(status(page)).to_contain_text("20 rows")
    assert cells(page, "n").all_inner_texts() == before
    page.keyboard.press("r")
    expect(page).not_to_have_url(re.compile(r"seed=3\b"))
    expect(cell(page, "n")).to_have_text(re.compile("[0-9]"))
    page.get_by_role("button", name="Remove: 20 rows at random").click()
    expect(status(page)).to_contain_text(f"{ROWS} rows")


def test_rows_unfold(page: Page) -> None:
    """A clamped text is shown whole in its place; the rows below move, and move back."""
    open_rows(page, "/d/posts?columns=text")
    row = page.locator('.tbody .tr[aria-rowindex="3"]')
    below = page.locator('.tbody .tr[aria-rowindex="4"]')
    expect(below).to_be_visible()
    page.locator(".table").evaluate("(table) => table.focus()")
    page.keyboard.press("j")
    expect(row).to_have_attribute("aria-selected", "true")
    closed = below.bounding_box()
    page.keyboard.press("x")
    expect(row).to_have_class(re.compile("open"))
    text = row.locator(".clamp")
    assert text.evaluate("(cell) => cell.scrollHeight <= cell.clientHeight")
    row.get_by_role("button", name=re.compile("Fold row")).click()
    expect(row).not_to_have_class(re.compile("open"))
    assert below.bounding_box() == closed


def test_lines_in_a_row(page: Page) -> None:
    """Rows are as high as the reader likes; the address remembers."""
    open_rows(page, "/d/posts")
    row = page.locator('.tbody .tr[aria-rowindex="3"]')
    expect(row).to_be_visible()
    page.get_by_role("button", name="Lines in a row: 3").click()
    expect(page).to_have_url(re.compile("lines=8"))
    page.get_by_role("button", name="Lines in a row: 8").click()
    expect(page).to_have_url(re.compile("lines=1"))
    expect(row).to_have_css("height", "32px")


def test_mistakes_are_told(page: Page) -> None:
    """What the server says about an expression is shown, with a way to mend it."""
    page.goto("/d/posts?filter=all(raw_duck(sql=~length(n)+%3E+~))")
    expect(page.get_by_role("alert").first).to_contain_text("parse")
    page.get_by_role("button", name="Edit the filter").click()
    page.get_by_label("DuckDB expression").fill("n > 265")
    page.get_by_role("button", name="Apply").click()
    expect(status(page)).to_contain_text("6 rows match")
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_dataset_that_does_not_exist(page: Page) -> None:
    """The page says so, and leads back."""
    page.goto("/d/nothing-of-the-kind")
    expect(page.get_by_role("alert")).to_contain_text("nothing-of-the-kind")
    page.get_by_role("link", name="Lake", exact=True).click()
    expect(page.get_by_role("link", name="posts", exact=True)).to_be_visible()
    page.goto("/d/posts/no/such/page")
    expect(page.get_by_text("There is nothing here")).to_be_visible()


def test_a_column_that_is_not_there_is_null(page: Page) -> None:
    """An address may name what a dataset does not have yet."""
    open_rows(page, "/d/posts?columns=n&columns=comes-later")
    expect(cell(page, "comes-later")).to_have_text("null")
