"""Filters in SQL, taken apart at their outermost ANDs."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.tables.filters.ands import split_ands


@pytest.mark.parametrize(
    ("sql", "parts"),
    [
        ("a > 1 AND b < 2", ["a > 1", "b < 2"]),
        ("a AND b and\n c", ["a", "b", "c"]),
        ("length(text) = 4 AND n BETWEEN 1 AND 2 AND lang.ok", ["length(text) = 4", "n BETWEEN 1 AND 2", "lang.ok"]),
        ("(a OR b) AND c", ["(a OR b)", "c"]),
        ("t = ' AND ' AND \"x AND y\" = 'é'", ["t = ' AND '", "\"x AND y\" = 'é'"]),
        ("CASE WHEN a AND b THEN c END AND d", ["CASE WHEN a AND b THEN c END", "d"]),
        ("NOT a AND b IN (1, 2)", ["NOT a", "b IN (1, 2)"]),
        ("a OR b AND c", None),
        ("(a AND b) AND c", None),
        ("(a AND b)", None),
        ("a -- AND\nAND b", None),
        ("list_filter(x, y -> y > 1 AND y < 3) = [2]", None),
        ("a AND", None),
        ("", None),
        ("a AND b; SELECT 1", None),
        ("a AND '\udc00'", None),
        ("1 AS n AND b", None),
    ],
)
def test_parts_are_those_that_the_parser_sees(sql: str, parts: list[str] | None) -> None:
    """What cannot be taken apart safely stays as it is."""
    with duckdb.connect() as connection:
        assert [part.strip() for part in split_ands(connection, sql)] == (parts or [sql])


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    """One for all examples: nothing is written to it, and each takes a while to open."""
    with duckdb.connect() as connection:
        yield connection


atoms = st.sampled_from(
    ["a", "b > 1", "c BETWEEN 1 AND 3", "NOT a", "(a OR b = 2)", "c IN (1, 2)", "a IS NULL", "b = -1"]
)
trees = st.recursive(
    atoms,
    lambda inner: st.builds(
        "{0}{1} {2} {3}{4}".format,
        st.sampled_from(["", "("]),
        inner,
        st.sampled_from(["AND", "OR", "and"]),
        inner,
        st.just(""),
    ).map(lambda text: text + ")" * (text.count("(") - text.count(")"))),
    max_leaves=6,
)


@given(sql=trees)
def test_together_they_say_what_was_written(database: duckdb.DuckDBPyConnection, sql: str) -> None:
    """For every combination of values, null included."""
    table = (
        "(SELECT * FROM (VALUES (TRUE), (FALSE), (NULL)) AS x(a), (VALUES (-1), (2), (NULL)) AS y(b), "
        "(VALUES (1), (5), (NULL)) AS z(c))"
    )
    parts = split_ands(database, sql)
    together = " AND ".join(f"(\n{part}\n)" for part in parts)
    query = f"SELECT count(*) FROM {table} WHERE ({sql}) IS DISTINCT FROM ({together})"
    assert database.execute(query).fetchone() == (0,)
