from __future__ import annotations

import json
import os
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.config.filters import (
    AllFilter,
    AnyFilter,
    BooleanFilter,
    ContainsFilter,
    EqualsFilter,
    FilterNode,
    InFilter,
    NotEqualsFilter,
    NotFilter,
    NullFilter,
    RangeFilter,
    RawDuckFilter,
    RegexFilter,
    StartsWithFilter,
)
from tests.support.filters import selects
from tests.support.live import Written, keys, looking, pages, written

EXAMPLES = int(os.environ.get("DATALAKE_VIEWER_EXAMPLES", "8"))
"""How many lakes each test looks at; more of them find rarer faults."""
NUMBERS = st.one_of(st.integers(-3, 3), st.sampled_from([0.5, 2.5, -1.5, 2**53, -(2**40)]))
WORDS = st.text('abAB %_\\é"', max_size=4)
ANYTHING = st.one_of(NUMBERS, WORDS, st.booleans(), st.sampled_from([["a", 1], {"a": "B"}, []]))
COLUMNS: dict[str, st.SearchStrategy[Any]] = {"n": NUMBERS, "s": WORDS, "ok": st.booleans(), "odd": ANYTHING}
ADDED: dict[str, st.SearchStrategy[Any]] = {"label": st.sampled_from(["en", "de"]), "score": NUMBERS, "odd": ANYTHING}
FIELDS = ["n", "s", "ok", "odd", "nope", "lang.label", "lang.score", "lang.odd", "lang.nope", "id", "_created_at"]
SQL: dict[str, Any] = {
    "n > 1": lambda row: row.get("n") is not None and row["n"] > 1,
    "lang.label = 'en' OR n IS NULL": lambda row: row.get("lang.label") == "en" or row.get("n") is None,
    "lang._status = 'failed'": lambda row: row.get("lang._status") == "failed",
}


def some(columns: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of the columns, some of them null."""
    return st.fixed_dictionaries({}, optional={name: st.one_of(st.none(), value) for name, value in columns.items()})


FIELD = st.sampled_from(FIELDS)
SCALARS = st.one_of(NUMBERS, WORDS, st.booleans())
BOUND = st.one_of(NUMBERS, WORDS)
LEAVES: st.SearchStrategy[FilterNode] = st.one_of(
    st.builds(BooleanFilter, field=FIELD, value=st.booleans()),
    st.builds(EqualsFilter, field=FIELD, value=SCALARS),
    st.builds(NotEqualsFilter, field=FIELD, value=SCALARS),
    st.builds(InFilter, field=FIELD, values=st.lists(SCALARS, max_size=3)),
    st.builds(RangeFilter, field=FIELD, gt=NUMBERS, le=st.one_of(st.none(), NUMBERS)),
    st.builds(RangeFilter, field=FIELD, ge=BOUND),
    st.builds(RangeFilter, field=FIELD, lt=BOUND),
    st.builds(ContainsFilter, field=FIELD, value=WORDS, case_sensitive=st.booleans()),
    st.builds(StartsWithFilter, field=FIELD, value=WORDS, case_sensitive=st.booleans()),
    st.builds(
        RegexFilter, field=FIELD, pattern=st.sampled_from(["a", "^B", "b$", "[ab]{2}"]), case_sensitive=st.booleans()
    ),
    st.builds(NullFilter, field=FIELD, value=st.booleans()),
    st.builds(RawDuckFilter, sql=st.sampled_from(sorted(SQL))),
)
NODES: st.SearchStrategy[FilterNode] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(AllFilter, filters=st.lists(inner, max_size=3)),
        st.builds(AnyFilter, filters=st.lists(inner, max_size=3)),
        st.builds(NotFilter, filter=inner),
    ),
    max_leaves=6,
)
BATCH = st.sampled_from(["b1", "b10", "b2"])


def grow(data: st.DataObject, lake: Written) -> None:
    """One thing that somebody does with the lake."""
    what = data.draw(st.sampled_from(["write", "write", "merge", "annotate", "merge annotations"]), "what")
    if what == "write":
        rows = data.draw(st.lists(some(COLUMNS), min_size=1, max_size=5), "rows")
        minutes = data.draw(st.integers(0, 3), "minutes")
        lake.write(data.draw(BATCH, "batch"), rows, minutes=minutes, own=data.draw(st.booleans(), "own ids"))
    elif what == "merge":
        lake.merge(data.draw(BATCH, "batch"))
    elif what == "annotate" and lake.merged:
        chosen = data.draw(st.lists(st.sampled_from(sorted(lake.merged)), unique=True, max_size=5), "annotated")
        said = st.one_of(st.sampled_from(["failed", "skipped"]), some(ADDED))
        lake.annotate("lang", {key: data.draw(said) for key in chosen})
    elif what == "merge annotations" and lake.annotations:
        lake.merge_annotations("lang")


@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data(), nodes=st.lists(NODES, min_size=1, max_size=4))
def test_filters_select_what_plain_python_selects(data: st.DataObject, nodes: list[FilterNode]) -> None:
    """Any filter, over base and annotations, merged and not; pages, counts and filters as text agree."""
    with written() as lake:
        lake.write("b1", data.draw(st.lists(some(COLUMNS), min_size=1, max_size=6)))
        lake.merge("b1")
        for _ in range(data.draw(st.integers(0, 5))):
            grow(data, lake)
        with looking(lake.store) as answers:
            for node in nodes:
                query = {"filter": [node.model_dump_json()], "limit": ["7"], "columns": ["id"]}
                expected = [
                    key for key in lake.ordered("_created_at", descending=True) if selects(node, lake.full(key), SQL)
                ]
                found = pages(answers, query)
                assert keys(found) == expected, node
                assert answers.count("posts", {"filter": query["filter"]})["rows"] == len(expected)
                merged = {(row["batch"], row["id"]): row["merged"] for page in found for row in page["rows"]}
                assert merged == {key: key in lake.merged for key in expected}


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    data=st.data(),
    column=st.sampled_from(["n", "s", "ok", "id", "_created_at", "_batch", "lang.score", "nope"]),
    order=st.sampled_from(["asc", "desc"]),
    limit=st.integers(1, 4),
)
def test_pages_neither_repeat_nor_skip_whatever_is_written_meanwhile(
    data: st.DataObject, column: str, order: str, limit: int
) -> None:
    """Rows that were there at the first page come once each, in order; and backwards the same."""
    with written() as lake:
        lake.write("b1", data.draw(st.lists(some(COLUMNS), min_size=1, max_size=6)))
        for _ in range(data.draw(st.integers(0, 4))):
            grow(data, lake)
        there = lake.ordered(column, descending=order == "desc")

        def between(_number: int) -> None:
            # The values of an annotation change while it is made: only what is written and merged may not matter then.
            what = data.draw(st.sampled_from(["nothing", "write", "merge"]))
            if what == "write":
                rows = data.draw(st.lists(some(COLUMNS), min_size=1, max_size=3))
                lake.write(data.draw(BATCH), rows, minutes=data.draw(st.integers(0, 5)), own=data.draw(st.booleans()))
            elif what == "merge":
                lake.merge(data.draw(BATCH))

        with looking(lake.store) as answers:
            query = {"sort": [column], "order": [order], "limit": [str(limit)], "columns": ["id"]}
            found = pages(answers, query, between=between)
            seen = keys(found)
            assert len(seen) == len(set(seen))
            assert [key for key in seen if key in set(there)] == there
            assert set(seen) <= set(lake.rows)
        with looking(lake.store) as answers:  # another process: cursors are all it knows
            forward = pages(answers, query)
            assert keys(forward) == lake.ordered(column, descending=order == "desc")
            backward = []
            cursor = forward[-1]["previous"]
            while cursor is not None:
                backward.append(answers.rows("posts", {**query, "cursor": [cursor]}))
                cursor = backward[-1]["previous"]
            assert keys(backward[::-1]) == keys(forward[:-1])


@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_values_come_out_as_they_went_in(data: st.DataObject) -> None:
    """Every column of every row, decoded, with the annotations beside it; missing columns are null."""
    with written() as lake:
        lake.write("b1", data.draw(st.lists(some(COLUMNS), min_size=1, max_size=6)))
        lake.merge("b1")
        for _ in range(data.draw(st.integers(0, 5))):
            grow(data, lake)
        columns = ["n", "s", "ok", "odd", "nope", "lang.label", "lang.score", "lang.odd", "id", "_batch", "_created_at"]
        with looking(lake.store) as answers:
            found = pages(answers, {"limit": ["7"], "columns": columns})
            for page in found:
                for row in page["rows"]:
                    full = lake.full((row["batch"], row["id"]))
                    wanted = [full.get(name) for name in columns]
                    assert [repr(cell) for cell in row["cells"]] == [repr(value) for value in wanted]
            key = data.draw(st.sampled_from(sorted(lake.rows)))
            one = answers.row("posts", {"batch": [key[0]], "id": [key[1]]})
            assert {name: one["fields"].get(name) for name in COLUMNS} == {
                name: lake.rows[key].get(name) for name in COLUMNS
            }
            order = lake.ordered("_created_at", descending=True)
            place = order.index(key)
            beside = one["neighbours"]
            assert beside["previous"] == (
                None if place == 0 else dict(zip(("batch", "id"), order[place - 1], strict=True))
            )
            assert beside["next"] == (
                None if place == len(order) - 1 else dict(zip(("batch", "id"), order[place + 1], strict=True))
            )
            assert json.dumps(one)
