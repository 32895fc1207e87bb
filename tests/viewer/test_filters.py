from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.support.viewer_lake import MERGED, ROWS, UNMERGED, post
from tests.support.viewer_page import open_rows, status


def condition(dialog: Locator, number: int, column: str, operator: str, *values: str) -> None:
    """Fill in a condition."""
    line = dialog.locator(".condition").nth(number)
    line.get_by_label("Column", exact=True).select_option(column)
    line.get_by_label("Condition", exact=True).select_option(label=operator)
    for label, value in zip(("From", "To") if len(values) == 2 else ("Value",), values, strict=False):
        line.get_by_label(label, exact=True).fill(value)


def matching(page: Page, dialog: Locator) -> int:
    """How many rows the draft matches, once they are counted."""
    note = dialog.locator(".count-note")
    expect(note).to_have_text(re.compile(r"rows? match"))
    return int(note.inner_text().split()[0].replace(",", ""))


def test_every_operator_counts_what_it_should(page: Page) -> None:
    """Conditions over every type of column select what the same rule selects of the rows that were written."""
    rows = [post(number) for number in range(ROWS)]
    cases: list[tuple[str, str, tuple[str, ...], Callable[[dict[str, Any]], bool]]] = [
        ("n", "is", ("7",), lambda row: row["n"] == 7),
        ("n", "is not", ("7",), lambda row: row["n"] != 7),
        ("score", "<", ("4.5",), lambda row: row["score"] is not None and row["score"] < 4.5),
        ("n", "is between", ("10", "20"), lambda row: 10 <= row["n"] <= 20),
        ("pinned", "is true", (), lambda row: row["pinned"]),
        ("score", "is null", (), lambda row: row["score"] is None),
        ("score", "is not null", (), lambda row: row["score"] is not None),
        ("text", "contains", ("MUSEUM",), lambda row: "museum" in row["text"].lower()),
        ("text", "starts with", ("das ",), lambda row: row["text"].lower().startswith("das ")),
        ("text", "matches", ("^D(as|ie) ",), lambda row: re.search("^D(as|ie) ", row["text"]) is not None),
        ("tags", "contains", ("harbour",), lambda row: "harbour" in json.dumps(row["tags"])),
    ]
    open_rows(page, "/d/posts?columns=n")
    expect(status(page)).to_contain_text(f"{ROWS} rows")
    page.keyboard.press("f")
    dialog = page.get_by_role("dialog", name="Filter")
    for column, operator, values, rule in cases:
        condition(dialog, 0, column, operator, *values)
        expected = sum(bool(rule(row)) for row in rows)
        noun = "row matches" if expected == 1 else "rows match"
        expect(dialog.locator(".count-note"), f"{column} {operator}").to_have_text(f"{expected} {noun}")


def test_a_list_of_values(page: Page) -> None:
    """One on each line; lines that are numbers are numbers."""
    open_rows(page, "/d/posts?columns=n")
    page.keyboard.press("f")
    dialog = page.get_by_role("dialog", name="Filter")
    condition(dialog, 0, "n", "is one of")
    dialog.get_by_label("Values, one on each line").fill("3\n5\n9999")
    assert matching(page, dialog) == 2
    dialog.get_by_role("button", name="Apply").click()
    expect(status(page)).to_contain_text("2 rows match")
    expect(page.locator(".chips")).to_contain_text("n is one of 3, 5, 9999")
    expect(page).to_have_url(re.compile(re.escape("filter=all(in(field=n,values=(3,5,9999)))")))


def test_groups_within_groups(page: Page) -> None:
    """All, any and none, over base and annotations and with an expression; the address brings it all back."""
    open_rows(page, "/d/posts?columns=n")
    page.keyboard.press("f")
    dialog = page.get_by_role("dialog", name="Filter")
    condition(dialog, 0, "lang.label", "is", "de")
    dialog.get_by_role("button", name="Group").first.click()
    condition(dialog, 1, "n", "<", "20")
    dialog.get_by_role("button", name="Expression").first.click()
    dialog.get_by_label("DuckDB expression").fill("n BETWEEN 100 AND 120")
    dialog.get_by_label("How the conditions are joined").nth(1).select_option("none")
    german = [number for number in range(MERGED) if number % 7 == 3 and number % 40 != 7]
    expected = [number for number in german if not (number < 20 or 100 <= number <= 120)]
    assert matching(page, dialog) == len(expected)
    dialog.get_by_label("How the conditions are joined").nth(1).select_option("any")
    expected = [number for number in german if number < 20 or 100 <= number <= 120]
    expect(dialog.locator(".count-note")).to_have_text(f"{len(expected)} rows match")
    dialog.get_by_role("button", name="Apply").click()
    expect(status(page)).to_contain_text(f"{len(expected)} rows match")
    page.reload()
    expect(status(page)).to_contain_text(f"{len(expected)} rows match")
    shown = page.locator('.tbody .td[data-column="n"]')
    expect(shown).to_have_count(len(expected))
    assert sorted(map(int, shown.all_inner_texts())) == expected
    page.get_by_role("button", name=re.compile("^Remove: n <")).click()
    expect(status(page)).to_contain_text(f"{len(german)} rows match")
    page.get_by_role("button", name="Clear").click()
    expect(status(page)).to_contain_text(f"{ROWS} rows")


def test_a_filter_goes_out_and_comes_back(page: Page) -> None:
    """As JSON and as Python, by the clipboard, into an empty dialog; what is wrong with a text is said."""
    open_rows(
        page,
        "/d/posts?columns=n&filter=all(boolean(field=pinned,value=true),any(raw_duck(sql=~n+%3E+100~),null(field=score,value=true)))",
    )
    expect(status(page)).to_contain_text("match")
    count = status(page).inner_text().split()[0]
    for form in ("JSON", "Python"):
        page.keyboard.press("f")
        dialog = page.get_by_role("dialog", name="Filter")
        dialog.get_by_role("button", name=form, exact=True).click()
        field = dialog.get_by_label(f"Filter as {form}")
        expect(field).to_have_value(re.compile("pinned"))
        dialog.get_by_role("button", name=f"Copy {form}").click()
        expect(dialog.get_by_role("button", name="Copied")).to_be_visible()
        copied = page.evaluate("navigator.clipboard.readText()")
        assert ("AllFilter(" in copied) == (form == "Python")
        dialog.get_by_role("button", name="Remove all").click()
        expect(dialog.locator(".count-note")).to_have_text(f"{ROWS} rows match")
        field.fill("AllFilter(filters=[__import__('os')])" if form == "Python" else '{"type": "nonsense"}')
        dialog.get_by_role("button", name=f"Use this {form}").click()
        expect(dialog.get_by_role("alert").first).to_be_visible()
        field.fill(copied)
        dialog.get_by_role("button", name=f"Use this {form}").click()
        expect(dialog.locator(".count-note")).to_have_text(re.compile(f"^{count} rows? match"))
        dialog.get_by_role("button", name="Conditions").click()
        expect(dialog.locator(".condition")).to_have_count(3)
        dialog.get_by_role("button", name="Apply").click()
        expect(dialog).to_have_count(0)
        expect(status(page)).to_contain_text(f"{count} rows match")


def test_numbers_can_be_typed(page: Page) -> None:
    """A number that is on its way ("1.", "1.0") is not taken from under one's fingers, and is a number in the end."""
    open_rows(page, "/d/posts?columns=score")
    page.keyboard.press("f")
    dialog = page.get_by_role("dialog", name="Filter")
    condition(dialog, 0, "score", ">")
    value = dialog.get_by_label("Value", exact=True)
    value.press_sequentially("-1.05")
    expect(value).to_have_value("-1.05")
    value.press("Enter")
    expect(page).to_have_url(re.compile(re.escape("range(field=score,gt=-1.05)")))
    expect(status(page)).to_contain_text("match")


def test_unmerged_rows_are_filtered_too(page: Page) -> None:
    """What nobody merged yet is found like everything else."""
    open_rows(page, f"/d/posts?columns=n&filter=all(range(field=n,ge={MERGED}))")
    expect(status(page)).to_contain_text(f"{UNMERGED} rows match")
    expect(page.locator(".tbody .tr.unmerged")).to_have_count(UNMERGED)
