from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Page, expect

# Any JavaScript string, halves of surrogate pairs included: as code units, because these travel as JSON.
UNITS = st.lists(
    st.one_of(st.sampled_from([ord(c) for c in "&=+%~'\"#?/ ().,:*\\{}"]), st.integers(0, 0xFFFF)), max_size=12
)
TEXT = UNITS.map(lambda units: {"$": units})
NUMBERS = st.floats(-1e9, 1e9).map(lambda number: number + 0.0)  # JavaScript writes -0.0 as 0
NODES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.fixed_dictionaries({"type": st.just("equals"), "field": TEXT, "value": TEXT | st.booleans()}),
        st.fixed_dictionaries({"type": st.just("range"), "field": TEXT, "ge": NUMBERS}),
        st.fixed_dictionaries({"type": st.just("in"), "field": TEXT, "values": st.lists(TEXT | st.integers(-9, 9))}),
        st.fixed_dictionaries({"type": st.just("null"), "field": TEXT, "value": st.booleans()}),
        st.fixed_dictionaries({"type": st.just("raw_duck"), "sql": TEXT}),
    ),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"type": st.sampled_from(["all", "any"]), "filters": st.lists(inner, max_size=3)}),
        st.fixed_dictionaries({"type": st.just("not"), "filter": inner}),
    ),
    max_leaves=6,
)
VIEWS = st.fixed_dictionaries(
    {
        "columns": st.none() | st.lists(TEXT, min_size=1, max_size=3, unique_by=str),
        "widths": st.lists(st.tuples(TEXT, st.integers(48, 1600)), max_size=2, unique_by=lambda pair: str(pair[0])),
        "filter": st.none() | NODES,
        "search": st.none()
        | st.fixed_dictionaries({"column": TEXT, "text": TEXT.filter(lambda text: bool(text["$"]))}),
        "sort": st.none() | st.fixed_dictionaries({"column": TEXT, "order": st.sampled_from(["asc", "desc"])}),
        "batch": st.none() | TEXT,
        "open": st.none() | st.fixed_dictionaries({"batch": TEXT, "id": TEXT}),
    }
)
ROUND_TRIP = """async (views) => {
  const { emptyView, formatView, parseView } = await import("/static/js/view.js");
  const text = (value) => {
    if (Array.isArray(value)) return value.map(text);
    if (value === null || typeof value !== "object") return value;
    if ("$" in value) return String.fromCharCode(...value.$);
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, text(item)]));
  };
  const same = (a, b) => {
    if (a === null || b === null || typeof a !== "object" || typeof b !== "object") return Object.is(a, b);
    const keys = Object.keys(a);
    const alike = Array.isArray(a) === Array.isArray(b) && keys.length === Object.keys(b).length;
    return alike && keys.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]));
  };
  for (const given of views) {
    const view = { ...emptyView(), ...text(given), widths: Object.fromEntries(text(given.widths)) };
    history.replaceState(null, "", "/d/posts" + formatView(view));
    const back = parseView(location.search);
    if (!same(view, back)) return JSON.stringify([view, location.search, back]);
  }
  return null;
}"""


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(views=st.lists(VIEWS, min_size=20, max_size=20))
def _round_trip(page: Page, views: list[Any]) -> None:
    assert page.evaluate(ROUND_TRIP, views) is None


def test_an_address_holds_any_view(page: Page) -> None:
    """Names, values and filters of any text come back from the address as they were, through the browser itself."""
    page.goto("/static/favicon.svg")
    page.goto("/d/nothing-is-asked-of-this")
    _round_trip(page)


def test_an_address_can_be_read(page: Page) -> None:
    """What people write down is not a heap of percent signs."""
    page.goto("/operations")
    address = page.evaluate(
        """async () => {
          const { emptyView, formatView } = await import("/static/js/view.js");
          const english = { type: "equals", field: "lang.label", value: "en" };
          const filter = { type: "all", filters: [english, { type: "raw_duck", sql: "length(text) = 20" }] };
          const sort = { column: "score", order: "desc" };
          return formatView({ ...emptyView(), filter, sort, columns: ["text", "lang.label"] });
        }"""
    )
    assert address == (
        "?filter=all(equals(field=lang.label,value=en),raw_duck(sql=~length(text)+=+20~))"
        "&sort=score&order=desc&columns=text&columns=lang.label"
    )


def test_a_filter_that_cannot_be_read_is_not_left_out(page: Page) -> None:
    """Rows that somebody filtered are never shown as if they had not been."""
    page.goto("/d/posts?filter=all(equals(field=text")
    expect(page.get_by_role("alert")).to_contain_text("This is no filter")
    expect(page.get_by_role("grid")).to_have_count(0)
    page.get_by_role("button", name="Remove the filter").click()
    expect(page.get_by_role("grid")).to_be_visible()


def test_the_way_back_leads_through_what_was_looked_at(page: Page) -> None:
    """Going back and forth restores what was sorted and filtered, without loading the page again."""
    page.goto("/d/posts")
    page.get_by_role("button", name="n", exact=True).click()
    expect(page.get_by_role("columnheader", name="n", exact=False).nth(0)).to_be_visible()
    expect(page.locator(".chips")).to_contain_text("sorted by n, smallest first")
    page.go_back()
    expect(page.locator(".chips")).to_have_count(0)
    page.go_forward()
    expect(page.locator(".chips")).to_contain_text("sorted by n, smallest first")
