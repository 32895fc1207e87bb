"""Where things are on the viewer's page of rows."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect


def open_rows(page: Page, address: str) -> None:
    """Go to rows, and wait until there are some: from then on keys are heard."""
    page.goto(address)
    expect(page.locator(".tbody .tr:not(.pending)").first).to_be_visible()


def status(page: Page) -> Locator:
    """How many rows there are."""
    return page.get_by_role("status", name="Rows")


def cells(page: Page, column: str) -> Locator:
    """The cells of a column that are drawn."""
    return page.locator(f'.tbody .td[data-column="{column}"]')


def cell(page: Page, column: str, row: int = 0) -> Locator:
    """The cell of a row, counted from 0."""
    return page.locator(f'.tbody .tr[aria-rowindex="{row + 3}"] .td[data-column="{column}"]')
