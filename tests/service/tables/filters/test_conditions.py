from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from datalake_service.config.filters import AllFilter, AnyFilter, BooleanFilter, RawDuckFilter
from datalake_service.errors import FilterError
from datalake_service.tables.database.sql import Reference
from datalake_service.tables.filters.conditions import Condition, Filters
from datalake_service.tables.filters.naming import ViewSchema

SCHEMA = ViewSchema(
    base={
        "id": "s", "text": "s", "n": "i", "mixed": "bs", "flag": "bn", "nothing": "n", "Title": "i", "title": "s",
        "a.b": "s", "metadata": "j", "gpt.4": "s", "": "b",
    },
    annotators={"lang": {"id": "s", "_status": "s", "label": "s", "ok": "b"}, "gpt.4": {"ok": "b"}, "late": {}},
)  # fmt: skip


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """Any database: nothing is read."""
    with duckdb.connect() as opened:
        yield opened


def compiled(
    connection: duckdb.DuckDBPyConnection, *, over_all: Any = None, base: Any = None, lang: Any = None
) -> Condition:
    """The condition over ``SCHEMA``."""
    annotators = {} if lang is None else {"lang": lang}
    return Filters(connection, over_all=over_all, base=base, annotators=annotators).compile(connection, SCHEMA)


def named(condition: Condition) -> set[str]:
    """The labels of the columns that a condition reads."""
    return {reference.label for reference in condition.columns.values()}


def raw(sql: str) -> RawDuckFilter:
    """A raw filter."""
    return RawDuckFilter(sql=sql)


@pytest.mark.parametrize(
    ("sql", "columns"),
    [
        ("text = 'x'", {"text"}),
        ("TEXT = 'x'", {"text"}),
        ("Title = 1", {"Title"}),
        ("titel = 1 OR lang.label = 'en'", {"lang.label"}),
        ('"LANG".Label = text', {"lang.label", "text"}),
        ('a.b = 1 AND "a.b" = 2', {"a.b"}),
        ('"gpt.4".ok AND "gpt.4" = \'x\'', {"gpt.4.ok", "gpt.4"}),
        ("lang._status = 'failed'", {"lang._status"}),
        ("n > 1 AND nothing IS NULL", {"n"}),
        ("current_date > DATE '2020-01-01'", set()),
    ],
)
def test_names_in_sql(connection: duckdb.DuckDBPyConnection, sql: str, columns: set[str]) -> None:
    """Base columns plain, annotators qualified; case counts only where it has to."""
    assert named(compiled(connection, over_all=raw(sql))) == columns


def test_a_name_that_differs_by_case_only_must_be_exact(connection: duckdb.DuckDBPyConnection) -> None:
    """Guessing would read the wrong column."""
    with pytest.raises(FilterError, match="'Title' or 'title'"):
        compiled(connection, over_all=raw("TITLE = 1"))


def test_a_path_into_json_is_explained(connection: duckdb.DuckDBPyConnection) -> None:
    """``metadata.score`` looks right and would be null in every row."""
    with pytest.raises(FilterError, match="metadata->>'score'"):
        compiled(connection, over_all=raw("metadata.score > 1"))


def test_own_columns_of_an_annotator_are_plain(connection: duckdb.DuckDBPyConnection) -> None:
    """In ``annotator_filters`` its columns need no qualification, and base columns are not meant."""
    condition = compiled(
        connection, lang=AllFilter(filters=[raw("label = 'en'"), BooleanFilter(field="ok", value=True)])
    )
    assert set(condition.columns.values()) == {Reference("lang", "label"), Reference("lang", "ok")}
    assert compiled(connection, lang=raw("text = 'x'")).notes


@pytest.mark.parametrize(
    ("field", "column"),
    [("flag", "flag"), ("lang.ok", "lang.ok"), ("gpt.4.ok", "gpt.4.ok"), ("", ""), ("mixed", "mixed")],
)
def test_fields_of_boolean_filters(connection: duckdb.DuckDBPyConnection, field: str, column: str) -> None:
    """Exactly the name, annotators qualified."""
    assert named(compiled(connection, over_all=BooleanFilter(field=field, value=True))) == {column}


@pytest.mark.parametrize("field", ["Flag", "lang.nope", "late.ok", "ok"])
def test_a_field_that_is_nowhere_selects_nothing(connection: duckdb.DuckDBPyConnection, field: str) -> None:
    """Null is neither true nor false; a note says so."""
    condition = compiled(connection, over_all=BooleanFilter(field=field, value=False))
    assert condition.sql == "FALSE"
    assert field in " ".join(condition.notes)


def test_the_nearest_names_are_offered(connection: duckdb.DuckDBPyConnection) -> None:
    """A typo is found by reading one line."""
    (note,) = compiled(connection, over_all=raw("lang.lable = 'en'")).notes
    assert "'lang.label'" in note
    (note,) = compiled(connection, over_all=BooleanFilter(field="flga", value=True)).notes
    assert "'flag'" in note


def test_a_name_is_noted_once(connection: duckdb.DuckDBPyConnection) -> None:
    """However often a filter repeats it."""
    assert len(compiled(connection, over_all=raw("nope = 1 OR nope = 2 OR NOT nope = 3")).notes) == 1


def test_a_boolean_filter_on_numbers_is_noted(connection: duckdb.DuckDBPyConnection) -> None:
    """1 is not true."""
    condition = compiled(connection, over_all=BooleanFilter(field="n", value=True))
    assert condition.sql == "FALSE"
    assert "int64" in condition.notes[0]


@pytest.mark.parametrize(
    "sql", ["length(n) > 1", "text + 1 > 2", "no_function(text)", "all text", "sum(n) > 1", "a = 1;"]
)
def test_sql_that_cannot_be_bound_is_an_error_of_one_line(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """DuckDB's own words, before anything is read."""
    with pytest.raises(FilterError) as caught:
        compiled(connection, over_all=raw(sql))
    assert "\n" not in str(caught.value)
    assert "column_" not in str(caught.value)


def test_aliases_stay_clear_of_the_users_names(connection: duckdb.DuckDBPyConnection) -> None:
    """A lambda may call its parameter anything."""
    condition = compiled(connection, over_all=raw("list_filter([1], lambda column_0: column_0 > n)[1] = 2"))
    assert named(condition) == {"n"}
    assert all(alias != "column_0" for alias in condition.columns)


def test_no_filter_is_no_condition(connection: duckdb.DuckDBPyConnection) -> None:
    """An empty ``all`` is true, an empty ``any`` is false."""
    assert compiled(connection).sql == "TRUE"
    assert compiled(connection, over_all=AllFilter(filters=[])).sql == "TRUE"
    assert compiled(connection, over_all=AnyFilter(filters=[])).sql == "FALSE"


def test_filters_nest_to_any_depth(connection: duckdb.DuckDBPyConnection) -> None:
    """No recursion of ours ends it."""
    node: object = BooleanFilter(field="flag", value=True)
    for _ in range(5_000):
        node = AllFilter(filters=[node])
    assert named(compiled(connection, over_all=node)) == {"flag"}


def test_annotators_that_filters_name_are_known_before_their_columns(connection: duckdb.DuckDBPyConnection) -> None:
    """Only their footers are read."""
    filters = Filters(
        connection,
        over_all=AllFilter(filters=[raw('Lang.x = 1 AND "my.own".y = 2'), BooleanFilter(field="gpt.4.ok", value=True)]),
    )
    assert filters.named_annotators({"lang", "my.own", "gpt.4", "gpt", "other"}) == {"lang", "my.own", "gpt.4", "gpt"}
