from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.support.viewer_page import open_rows


def heads(page: Page) -> list[str]:
    """The names over the columns, from left to right."""
    return page.locator(".names .th-name").all_inner_texts()


def test_annotators_stand_over_their_columns(page: Page) -> None:
    """Base first, then each annotator with what is its own; what the lake adds by itself is hidden."""
    open_rows(page, "/d/posts")
    expect(page.locator(".groups .group")).to_have_text(["base", "ask", "lang"])
    assert heads(page) == ["text", "url", "score", "n", "pinned", "tags", "is_question", "words", "label", "confidence"]


def test_columns_are_chosen(page: Page) -> None:
    """Shown, hidden, found by name, all of an annotator's at once, and as usual again."""
    open_rows(page, "/d/posts")
    page.keyboard.press("c")
    dialog = page.get_by_role("dialog", name="Columns")
    dialog.get_by_label("Find a column").fill("creat")
    dialog.get_by_role("checkbox", name="_created_at").check()
    expect(page.locator(".names .th-name").last).to_have_text("_created_at")
    dialog.get_by_label("Find a column").fill("")
    dialog.get_by_role("checkbox", name="url").click()
    dialog.get_by_role("button", name="Show all columns of lang").click()
    expect(page.locator(".names .th-name", has_text="_status")).to_have_count(1)
    assert "url" not in heads(page)
    expect(page).to_have_url(re.compile("columns=lang._status"))
    dialog.get_by_role("button", name="Usual columns").click()
    expect(page).not_to_have_url(re.compile("columns="))
    dialog.get_by_role("button", name="Done").click()
    expect(dialog).to_have_count(0)


def test_columns_change_places(page: Page) -> None:
    """By dragging, from the menu, and with the arrows of the dialog; values stay with their column."""
    open_rows(page, "/d/posts?columns=text&columns=n&columns=score")
    number = page.locator('.tbody .tr[aria-rowindex="3"] .td[data-column="n"]')
    expect(number).to_have_text("271")
    page.locator(".names .th", has_text="score").drag_to(page.locator(".names .th", has_text="text"))
    expect(page.locator(".names .th-name")).to_have_text(["score", "text", "n"])
    page.get_by_role("button", name="Column n").click()
    page.get_by_role("menuitem", name="Move left").click()
    expect(page.locator(".names .th-name")).to_have_text(["score", "n", "text"])
    expect(number).to_have_text("271")
    page.keyboard.press("c")
    page.get_by_role("button", name="Move n up").click()
    expect(page.locator(".names .th-name")).to_have_text(["n", "score", "text"])
    expect(page).to_have_url(re.compile("columns=n&columns=score&columns=text"))


def test_the_menu_of_a_column(page: Page) -> None:
    """It sorts, hides, filters and charts; escape closes it and gives the focus back."""
    open_rows(page, "/d/posts?columns=text&columns=n&columns=score")
    opener = page.get_by_role("button", name="Column n")
    opener.click()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("menuitem", name="Sort, largest first")).to_be_focused()
    page.keyboard.press("Escape")
    expect(opener).to_be_focused()
    opener.click()
    page.get_by_role("menuitem", name="Sort, smallest first").click()
    expect(page.locator('.tbody .tr[aria-rowindex="3"] .td[data-column="n"]')).to_have_text("0")
    opener.click()
    page.get_by_role("menuitem", name="Filter by it").click()
    expect(page.get_by_role("dialog", name="Filter").get_by_label("Column", exact=True)).to_have_value("n")
    page.keyboard.press("Escape")
    opener.click()
    page.get_by_role("menuitem", name="Hide").click()
    expect(page.locator(".names .th-name")).to_have_text(["text", "score"])
    page.get_by_role("button", name="Column score").click()
    page.get_by_role("menuitem", name="Chart").click()
    expect(page).to_have_url(re.compile("/d/posts/charts.*column=score"))


def test_columns_are_as_wide_as_one_likes(page: Page) -> None:
    """Pulled with the pointer, moved with arrow keys, usual again with a double click; the address remembers."""
    open_rows(page, "/d/posts?columns=text&columns=n")
    head = page.locator(".names .th", has_text="text")
    edge = page.get_by_role("separator", name="Width of text")
    usual = head.bounding_box()
    box = edge.bounding_box()
    assert usual is not None
    assert box is not None
    page.mouse.move(box["x"] + 4, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] - 146, box["y"] + 10, steps=4)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"width=\d+:text"))
    pulled = head.bounding_box()
    assert pulled is not None
    assert abs(usual["width"] - pulled["width"] - 150) <= 1
    page.reload()
    expect(edge).to_have_attribute("aria-valuenow", str(round(pulled["width"])))
    edge.focus()
    page.keyboard.press("ArrowRight")
    expect(edge).to_have_attribute("aria-valuenow", str(round(pulled["width"]) + 24))
    edge.dblclick()
    expect(page).not_to_have_url(re.compile("width="))
    assert head.bounding_box() == usual
