from __future__ import annotations

import re

from playwright.sync_api import Page, expect


def test_what_is_at_work(page: Page) -> None:
    """Runs and tasks with their states and counts; leases, or that nobody holds one."""
    page.goto("/operations")
    expect(page.get_by_role("region", name="List of tasks")).to_contain_text("server-1.log.gz")
    expect(page.get_by_role("region", name="List of runs")).to_contain_text("posts")
    expect(page.get_by_role("heading", name="Leases")).to_be_visible()
    assert page.locator("main button:not([aria-pressed])").count() == 0  # nothing here changes anything


def test_rejections_with_their_bytes(page: Page) -> None:
    """By reason; each with where it came from, and its bytes as text and as a hex dump."""
    page.goto("/operations")
    page.get_by_role("link", name="Rejections").click()
    page.get_by_label("Dataset").select_option("tracebacks")
    item = page.get_by_role("region", name="Rejection", exact=True).first
    expect(item).to_contain_text("server-")
    item.get_by_role("button", name="Hex").click()
    expect(item.get_by_role("region", name="Raw bytes")).to_contain_text(
        re.compile(r"000000  ([0-9a-f]{2} ){15}[0-9a-f]{2}  ")
    )
    item.get_by_role("button", name="Text").click()
    expect(item.get_by_role("region", name="Raw bytes")).not_to_contain_text("000000  ")
    page.get_by_role("list", name="Rejections by reason").get_by_role("button").first.click()
    expect(page).to_have_url(re.compile("reason="))
    expect(item).to_be_visible()
    page.get_by_role("button", name="All reasons").click()
    expect(page).not_to_have_url(re.compile("reason="))


def test_failed_annotations(page: Page) -> None:
    """By kind, with the message, what was paid, and a link to the row."""
    page.goto("/operations?show=failures&dataset=posts")
    page.get_by_role("button", name="lang, TimeoutError: 7 rows. Show them.").click()
    expect(page).to_have_url(re.compile("kind=TimeoutError"))
    table = page.get_by_role("region", name="Failed annotations")
    expect(table.locator("tbody tr")).to_have_count(7)
    expect(table).to_contain_text("no answer for row 47")
    expect(table).to_contain_text("<b>at all</b>")
    table.get_by_role("link", name="post-0047").click()
    expect(page.get_by_label("Annotation by lang")).to_contain_text("failed")


def test_bytes_as_hex(page: Page) -> None:
    """Offsets, bytes and their ASCII, in lines of sixteen; the last line is as wide as the others."""
    page.goto("/operations")
    lines = page.evaluate(
        """async () => {
          const { hexLines } = await import("/static/js/hex.js");
          return hexLines(Uint8Array.from({ length: 35 }, (_, at) => (at * 37) % 256));
        }"""
    )
    content = bytes(at * 37 % 256 for at in range(35))
    assert [line["offset"] for line in lines] == ["000000", "000010", "000020"]
    assert bytes.fromhex("".join(line["hex"] for line in lines)) == content
    assert {len(line["hex"]) for line in lines} == {47}
    assert lines[0]["ascii"][2] == "J"
    assert lines[0]["ascii"][0] == "·"
