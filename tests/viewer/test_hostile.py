from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.support.viewer_lake import HOSTILE, LONG, ODD_COLUMN, ODD_ID, SCRIPT
from tests.support.viewer_page import cell, cells, open_rows

PAGES = [
    "/d/hostile",
    "/d/hostile/charts",
    f"/d/hostile/charts?column={quote(ODD_COLUMN)}",
    "/d/hostile/charts?column=text&against=tags",
    f"/d/hostile/row?batch=b&id={quote(ODD_ID)}",
    "/d/hostile/row?batch=b&id=hostile-0",
    f"/d/hostile?search={quote(SCRIPT)}&in=text",
    f"/d/{quote(SCRIPT, safe='')}",
    f"/operations?show=failures&dataset=posts&kind={quote(SCRIPT)}",
    "/operations?show=rejections&dataset=tracebacks",
]


@pytest.mark.parametrize("address", PAGES)
def test_text_never_becomes_markup(page: Page, address: str) -> None:
    """Scripts in rows, names, ids, keys and addresses are text wherever they are shown; nothing of them runs."""
    page.goto(address)
    expect(page.locator(".loading")).to_have_count(0)
    page.wait_for_load_state("load")
    assert page.evaluate("window.harmed") is None
    assert page.locator("main script, main img, main iframe, main b:has-text('odd')").count() == 0
    addresses = page.locator("main a").evaluate_all("(links) => links.map((link) => link.protocol)")
    assert set(addresses) <= {"http:", "https:"}


def test_what_would_act_or_hide_is_shown(page: Page) -> None:
    """Scripts as they are written, overrides and escapes by their names, numbers without loss."""
    open_rows(page, "/d/hostile?sort=id&order=asc&lines=8")
    texts = cells(page, "text")
    expect(texts).to_have_count(len(HOSTILE))
    expect(texts.filter(has_text=SCRIPT)).to_have_count(1)
    override = texts.filter(has_text="gnp.exe")
    expect(override.locator(".symbol")).to_have_text(["RLO", "PDF", "LRI", "PDI"])
    escapes = texts.filter(has_text="[31mred")
    expect(escapes.locator(".symbol").first).to_have_text("ESC")
    expect(escapes.locator(".symbol")).to_have_count(6)
    links = texts.filter(has_text="javascript:").get_by_role("link")
    expect(links).to_have_count(1)
    expect(links).to_have_attribute("href", "https://example.com/a_(b)?q=1")
    expect(texts.filter(has_text="half")).to_contain_text("\ufffd")
    expect(cells(page, "n").filter(has_text=str(2**70))).to_have_count(1)
    expect(cells(page, "score").filter(has_text="NaN")).to_have_count(1)
    expect(page.locator(".names .th-name", has_text=ODD_COLUMN)).to_have_count(1)


def test_an_odd_id_is_a_link_like_any_other(page: Page) -> None:
    """Slashes, dots, percent signs and letters from right to left lead to the row, and to it only."""
    open_rows(page, "/d/hostile?columns=id")
    page.locator(".tbody .tr", has_text="odd/../id").locator(".td").nth(1).click()
    panel = page.get_by_role("complementary", name="Row")
    expect(panel).to_contain_text("gnp.exe")
    panel.get_by_role("link", name="Page").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("odd/../id?1&<i>#%41")
    expect(page.get_by_label("Fields of the row")).to_contain_text("gnp.exe")
    page.reload()
    expect(page.get_by_label("Fields of the row")).to_contain_text("gnp.exe")


def test_a_long_text_comes_in_parts(page: Page) -> None:
    """The table gets the beginning; the row shows more when asked, to the last character."""
    open_rows(page, "/d/hostile?columns=id&columns=text")
    long = cells(page, "text").filter(has_text="long long")
    assert len(long.inner_text()) < 3_000
    page.goto("/d/hostile/row?batch=b&id=hostile-4")
    value = page.locator(".field-row", has_text="long long").locator("dd")
    more = value.get_by_role("button", name="Show more")
    more.click()
    more.click()
    expect(more).to_have_count(0)
    assert value.locator("bdi").inner_text().strip() == LONG.strip()


def test_ten_megabytes_in_one_cell(page: Page) -> None:
    """What the server cut is fetched whole when asked for; until then the page stays small."""
    cut = "x" * 100
    whole = cut + "y" * 50_000
    page.route(
        re.compile("/api/.*/cell[?]"), lambda route: route.fulfill(content_type="text/plain; charset=utf-8", body=whole)
    )
    page.route(
        re.compile("/api/.*/row[?]"),
        lambda route: route.fulfill(
            json={
                "id": "a", "batch": "b", "merged": True, "fields": {"id": "a", "text": cut}, "types": {"text": "text"},
                "annotations": [], "truncated": [["text", len(whole)]], "source": None, "neighbours": {},
            }
        ),
    )  # fmt: skip
    page.goto("/d/hostile/row?batch=b&id=a")
    value = page.locator(".field-row").locator("dd").first
    expect(value).to_contain_text(cut)
    expect(value).not_to_contain_text("yyy")
    expect(value.get_by_role("link", name="Download")).to_have_attribute("href", re.compile("column=text"))
    value.get_by_role("button", name="Show all 50,100 characters").click()
    expect(value).to_contain_text("yyy")


def test_a_cell_does_not_reach_beyond_itself(page: Page) -> None:
    """Whatever is in a row, every row is as high as the others, and nothing lies over what is beside it."""
    open_rows(page, "/d/hostile")
    heights = page.locator(".tbody .tr").evaluate_all("(rows) => rows.map((row) => row.offsetHeight)")
    assert len(set(heights)) == 1
    expect(cell(page, "text")).to_have_css("overflow", "hidden")
