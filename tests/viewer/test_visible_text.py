from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from playwright.sync_api import Page

UNITS = st.lists(
    st.one_of(
        st.sampled_from([0x00, 0x07, 0x1B, 0x7F, 0x9B, 0x200B, 0x202E, 0x2066, 0xD800, 0xDC41, 0xDB40, 0xDC01]),
        st.sampled_from([ord(c) for c in "https://x/(c).<>'\""]),
        st.integers(0, 0xFFFF),
    ),
    max_size=30,
)
# What must never reach the screen as it is: controls but tab and line feed, overrides and isolates of direction,
# characters without width, half pairs, tags.
HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff"
    "\U000e0000-\U000e01ef]"
)
SEGMENTS = """async (texts) => {
  const { safeLink, withLinks } = await import("/static/js/visible.js");
  return texts.map((units) => {
    const text = String.fromCharCode(...units);
    const parts = withLinks(text);
    const plain = parts.filter((part) => part.kind !== "symbol").map((part) => part.text).join("");
    const links = parts.filter((part) => part.kind === "link").map((part) => safeLink(part.text));
    const symbols = parts.filter((part) => part.kind === "symbol").length;
    return [plain, [...text].length - [...plain].length - symbols, links];
  });
}"""
LINKS = {
    "https://example.com/a_(b)?q=1.": ["https://example.com/a_(b)?q=1"],
    "(see http://example.com/x), or": ["http://example.com/x"],
    "javascript:alert(1) data:text/html,x vbscript:x ftp://example.com/c file:///etc/passwd": [],
    "https://user:secret@example.com/": [],
    "https://example" + "\u202e" + ".com/": ["https://example/"],
    "HTTPS://EXAMPLE.COM/A": ["https://example.com/A"],
    'https://example.com/"onclick="alert(1)': ["https://example.com/"],
    "//example.com and http:// and https://": [],
}


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(UNITS, min_size=40, max_size=40))
def _nothing_hidden(page: Page, texts: list[list[int]]) -> None:
    for plain, missing, links in page.evaluate(SEGMENTS, texts):
        assert not HIDDEN.search(plain)
        assert missing == 0
        assert all(link.startswith(("http://", "https://")) for link in links)


def test_no_character_hides_or_acts(page: Page) -> None:
    """Every character is shown: as itself, or by its name; none is lost, and links lead to the web only."""
    page.goto("/static/favicon.svg")
    page.goto("/operations")
    _nothing_hidden(page)


def test_links_lead_where_they_say(page: Page) -> None:
    """Only plain addresses of the web are links, without the punctuation around them."""
    page.goto("/operations")
    found = page.evaluate(SEGMENTS, [[ord(character) for character in text] for text in LINKS])
    assert {text: links for text, (_, _, links) in zip(LINKS, found, strict=True)} == LINKS
