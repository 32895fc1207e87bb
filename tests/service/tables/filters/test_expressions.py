from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.errors import FilterError
from datalake_service.tables.filters.expressions import Expression, is_keyword, parse_expression


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """Any database: only its parser is used."""
    with duckdb.connect() as opened:
        yield opened


def marked(expression: Expression) -> str:
    """The expression with every name in angle brackets."""
    return expression.with_names(lambda name: f"<{'|'.join(name.parts)}>").removesuffix("\n")


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("a > 1 AND lang.label = 'x'", "<a> > 1 AND <lang|label> = 'x'"),
        ('é = "ü""x" AND "my-ann" . "lab""el" = 1', '<é> = <ü"x> AND <my-ann|lab"el> = 1'),
        ("Text = text", "<Text> = <text>"),
        ("case a when 1 then b else a end", "case <a> when 1 then <b> else <a> end"),
        ("m->'$.a' = '1' and m->>'b' is null", "<m>->'$.a' = '1' and <m>->>'b' is null"),
        ("a::int between 1 and b", "<a>::int between 1 and <b>"),
        ('"new\nline" = 1', "<new\nline> = 1"),
        ("'a' = \"a\" -- the end: a", "'a' = <a> -- the end: a"),
        ("length(text) > 20", "length(<text>) > 20"),
        ("metadata.score.x > 1", "<metadata|score|x> > 1"),
        ("{'a': b}.a = 1", "{'a': <b>}.a = 1"),
        ("x not like 'a$%' escape '$'", "<x> not like 'a$%' escape '$'"),
    ],
)
def test_every_column_name_is_found(connection: duckdb.DuckDBPyConnection, sql: str, names: str) -> None:
    """Names are found wherever they stand, and nothing that only looks like one."""
    assert marked(parse_expression(connection, sql, what="filter")) == names


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("list_filter([1], lambda y: y > n)", "list_filter([1], lambda y: y > <n>)"),
        ("list_filter([1], y -> y > n)", "list_filter([1], y -> y > <n>)"),
        ("list_reduce([1, 2], lambda x, y: x + y + n) > 0", "list_reduce([1, 2], lambda x, y: x + y + <n>) > 0"),
        ("[x for x in l if x > 1] = [n]", "[x for x in <l> if x > 1] = [<n>]"),
        (
            "list_transform([1], lambda x: list_filter([x], lambda y: y > x + q))[1] > 2",
            "list_transform([1], lambda x: list_filter([x], lambda y: y > x + <q>))[1] > 2",
        ),
    ],
)
def test_parameters_of_lambdas_are_no_columns(connection: duckdb.DuckDBPyConnection, sql: str, names: str) -> None:
    """What an inner function calls its parameters is its own business."""
    assert marked(parse_expression(connection, sql, what="filter")) == names


@pytest.mark.parametrize(
    "sql",
    [
        "a = 1; select 2", "1) or (1", "a) --", "a from t", "a as b", "a b", "a, b", "(select 1)", "exists (select 1)",
        "a = any(select 1)", "a = ?", "a = $1", "* > 1", "t.* > 1", "columns('x') > 1", "count(*) over () > 1",
        "a order by 1", "distinct a", "a union select 1", "'", "/* ", "", "a where b", "#1 = 2", "a limit 1",
        "a = (from read_text('/etc/passwd'))",
    ],
)  # fmt: skip
def test_anything_but_one_expression_about_a_row_is_refused(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """Statements, queries, clauses and parameters are errors of one line that name the filter."""
    with pytest.raises(FilterError, match=r"^base_filter") as caught:
        parse_expression(connection, sql, what="base_filter")
    assert "\n" not in str(caught.value)


def test_a_comment_cannot_swallow_what_follows(connection: duckdb.DuckDBPyConnection) -> None:
    """The text ends in a new line, so that a bracket after it closes."""
    text = parse_expression(connection, "a = 1 --", what="filter").with_names(lambda name: None)
    assert connection.execute(f"SELECT 1 FROM (SELECT 2 AS a) WHERE ({text})").fetchall() == []


def test_deep_nesting_is_an_error_of_one_line(connection: duckdb.DuckDBPyConnection) -> None:
    """No crash of the parser or of ours."""
    with pytest.raises(FilterError):
        parse_expression(connection, "(" * 5_000 + "a" + ")" * 5_000, what="filter")


def test_lone_surrogates_are_refused(connection: duckdb.DuckDBPyConnection) -> None:
    """SQL is UTF-8."""
    with pytest.raises(FilterError, match="surrogates"):
        parse_expression(connection, "a = '\ud800'", what="filter")


@pytest.mark.parametrize(
    ("sql", "keyword"), [("current_date", True), ('"current_date"', False), ("t.user", False), ("plain", False)]
)
def test_values_written_without_brackets(connection: duckdb.DuckDBPyConnection, sql: str, *, keyword: bool) -> None:
    """``current_date`` parses like a column, and is none unless it is quoted."""
    expression = parse_expression(connection, sql, what="filter")
    assert [is_keyword(name, expression.sql) for name in expression.names] == [keyword]


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)


@given(annotator=NAMES, column=NAMES, text=NAMES)
def test_any_quoted_name_comes_back_exactly(annotator: str, column: str, text: str) -> None:
    """Quotes, dots, spaces, keywords, any script: the parts are those that were quoted."""
    quoted = ".".join('"' + part.replace('"', '""') + '"' for part in (annotator, column))
    literal = "'" + text.replace("'", "''") + "'"
    with duckdb.connect() as connection:
        expression = parse_expression(connection, f"{literal} <> {quoted} OR {quoted} IS NULL", what="filter")
    assert [name.parts for name in expression.names] == [(annotator, column)] * 2
    assert expression.with_names(lambda name: "c") == f"{literal} <> c OR c IS NULL\n"
