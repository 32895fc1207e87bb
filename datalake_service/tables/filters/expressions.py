"""The user's SQL: one expression, taken apart far enough to know the columns it names.

DuckDB's own parser does it, so what is accepted here is what DuckDB understands. Names are replaced in the text as
the user wrote it; nothing else is changed. Knows nothing of which columns exist.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datalake_service.errors import FilterError

if TYPE_CHECKING:
    import duckdb

_SELECT = b"SELECT\n"
_IDENTIFIER = r'(?:"(?:[^"]|"")*"|[^\W\d][\w$]*)'
_PART = re.compile(_IDENTIFIER)
_DOT = re.compile(r"\s*\.\s*")
_AROUND = 64
"""Bytes for quotes, and for space before and behind a dot."""
_NO_PLACE = 1 << 63
"""Parts that the parser made up stand nowhere."""
_LAMBDA_FUNCTIONS = frozenset({
    "apply", "filter", "reduce", "list_apply", "list_filter", "list_reduce", "list_transform",
    "array_apply", "array_filter", "array_reduce", "array_transform",
})  # fmt: skip
"""Among their arguments ``x -> …`` is a function; elsewhere the arrow takes a value out of JSON."""
_KEYWORDS = frozenset({
    "current_catalog", "current_date", "current_role", "current_schema", "current_time", "current_timestamp",
    "current_user", "localtime", "localtimestamp", "session_user", "user",
})  # fmt: skip
"""Functions that are written without parentheses."""
_REFUSED = {
    "SUBQUERY": "a filter is one expression about one row; it cannot hold a query",
    "STAR": "a filter names its columns; * and COLUMNS(…) are not possible",
    "PARAMETER": "a filter has no parameters; write the value ('?' and '$1' stand for none)",
    "POSITIONAL_REFERENCE": "a filter names its columns; #1 stands for none",
    "WINDOW": "a filter is about one row; OVER (…) is not possible",
}


@dataclass(frozen=True, slots=True)
class ColumnName:
    """A column as an expression names it."""

    start: int
    """Where it stands in the text, in bytes of UTF-8."""
    end: int
    parts: tuple[str, ...]
    """What stands between the dots, without quotes."""


@dataclass(frozen=True, slots=True)
class Expression:
    """One SQL expression and the columns in it."""

    sql: str
    names: tuple[ColumnName, ...]
    """In the order of the text."""

    def with_names(self, replace: Callable[[ColumnName], str | None]) -> str:
        """The expression with other column names; ``None`` leaves a name as it is. Safe to put between parentheses."""
        text, done, pieces = self.sql.encode(), 0, []
        for name in self.names:
            new = replace(name)
            if new is not None:
                pieces += [text[done : name.start], new.encode()]
                done = name.end
        return b"".join([*pieces, text[done:], b"\n"]).decode()


def parse_expression(connection: duckdb.DuckDBPyConnection, sql: str, *, what: str) -> Expression:
    """Take the text of a filter apart; ``what`` names the filter in errors.

    Raises:
        FilterError: It is not one expression, or one that is about more than a row.
    """
    try:
        tree = _only_expression(_parse(connection, sql, what=what), what=what)
        places = {place - len(_SELECT): parts for place, parts in _names(tree, frozenset(), what=what)}
    except RecursionError:
        raise FilterError(f"{what} is nested too deeply") from None
    text = sql.encode()
    return Expression(sql, tuple(_located(text, start, places[start], what=what) for start in sorted(places)))


def _parse(connection: duckdb.DuckDBPyConnection, sql: str, *, what: str) -> dict[str, Any]:
    import duckdb

    try:
        query = (_SELECT + sql.encode() + b"\n").decode()
        row = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchone()
    except UnicodeEncodeError:
        raise FilterError(f"{what} holds characters that are no text (lone surrogates)") from None
    except duckdb.Error as error:
        raise FilterError(f"{what} cannot be parsed: {' '.join(str(error).split())}") from error
    answer: dict[str, Any] = json.loads(row[0]) if row else {}
    if answer.get("error", True):
        raise FilterError(f"{what} cannot be parsed: {' '.join(str(answer.get('error_message')).split())}")
    return answer


def _only_expression(answer: dict[str, Any], *, what: str) -> dict[str, Any]:
    """The one thing that is selected, if there is nothing but it."""
    statements = answer["statements"]
    node = statements[0]["node"] if len(statements) == 1 else {}
    chosen = node.get("select_list") or []
    clauses = ("where_clause", "group_expressions", "having", "sample", "qualify", "modifiers")
    plain = (
        node.get("type") == "SELECT_NODE"
        and len(chosen) == 1
        and not chosen[0]["alias"]
        and node["from_table"]["type"] == "EMPTY"
        and not any(node[clause] for clause in clauses)
        and not node["cte_map"]["map"]
    )
    if not plain:
        raise FilterError(f"{what} must be one SQL expression, such as length(text) > 20; it is more than that")
    tree: dict[str, Any] = chosen[0]
    return tree


def _names(node: object, local: frozenset[str], *, what: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Location and parts of every column name below ``node``; ``local`` are names of lambda parameters."""
    if isinstance(node, list):
        for item in node:
            yield from _names(item, local, what=what)
    elif isinstance(node, dict):
        yield from _names_of(node, local, what=what)


def _names_of(node: dict[str, Any], local: frozenset[str], *, what: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    kind = node.get("class")
    if kind in _REFUSED:
        raise FilterError(f"{what}: {_REFUSED[kind]}")
    if kind == "COLUMN_REF":
        parts = tuple(node["column_names"])
        if parts[0].lower() not in local:
            yield node["query_location"], parts
    elif kind == "FUNCTION" and node["function_name"].lower() in _LAMBDA_FUNCTIONS:
        for item in node.get("arguments") or node.get("children") or []:
            yield from _lambda_names(item.get("expression", item), local, what=what)
    elif kind == "LAMBDA" and node.get("syntax_type") != "SINGLE_ARROW":
        yield from _lambda_names(node, local, what=what)
    else:
        for value in node.values():
            yield from _names(value, local, what=what)


def _lambda_names(node: dict[str, Any], local: frozenset[str], *, what: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    if node.get("class") != "LAMBDA":
        yield from _names(node, local, what=what)
        return
    parameters = {parts[0].lower() for _, parts in _names(node["lhs"], frozenset(), what=what)}
    yield from _names(node["expr"], local | parameters, what=what)


def _located(text: bytes, start: int, parts: tuple[str, ...], *, what: str) -> ColumnName:
    """Find where a name ends, and make sure that it stands where the parser says."""
    length = sum(2 * len(part.encode()) + _AROUND for part in parts)
    rest = text[start : start + length].decode(errors="ignore") if 0 <= start < _NO_PLACE else ""
    position = 0
    for number, part in enumerate(parts):
        dot = _DOT.match(rest, position) if number else None
        match = _PART.match(rest, dot.end() if dot else position)
        if match is None or _unquoted(match[0]) != part:
            raise FilterError(f"{what}: write {'.'.join(parts)!r} in double quotes, part by part")
        position = match.end()
    return ColumnName(start, start + len(rest[:position].encode()), parts)


def _unquoted(text: str) -> str:
    return text[1:-1].replace('""', '"') if text.startswith('"') else text


def is_keyword(name: ColumnName, sql: str) -> bool:
    """Whether a name that is no column is one of SQL's own values (``current_date``)."""
    quoted = sql.encode()[name.start : name.start + 1] == b'"'
    return len(name.parts) == 1 and not quoted and name.parts[0].lower() in _KEYWORDS
