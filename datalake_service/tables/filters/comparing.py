"""Conditions on one column as SQL: what equals, lies between or contains means for a column of each type. Pure.

Values are compared by value and by kind: text never equals a number, whatever it looks like.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from datalake_service import jsontext
from datalake_service.catalog.columns import ColumnType
from datalake_service.tables.database.engine import quote_text

if TYPE_CHECKING:
    from datalake_service.config.filters import (
        ContainsFilter,
        EqualsFilter,
        InFilter,
        NotEqualsFilter,
        NullFilter,
        RangeFilter,
        RegexFilter,
        StartsWithFilter,
    )

    Comparison = (
        EqualsFilter
        | NotEqualsFilter
        | InFilter
        | RangeFilter
        | ContainsFilter
        | StartsWithFilter
        | RegexFilter
        | NullFilter
    )
    Scalar = bool | int | float | str

_NEVER: Final = "FALSE"
_MAX_INT64: Final = 2**63 - 1
_SIGNS: Final = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_TRUE: Final = {True: "true", False: "false"}


def compare(node: Comparison, column: str, kind: ColumnType) -> str:
    """The condition of a filter on ``column``, an SQL expression of the SQL type of ``kind``.

    Null selects nothing, except where somebody asks for it.
    """
    if node.type == "null":
        return f"({column} IS {'' if node.value else 'NOT '}NULL)"
    if kind is ColumnType.NULL:
        return _NEVER
    if node.type in ("contains", "starts_with", "regex"):
        return _textual(node, text_of(column, kind))
    return _by_value(node, column, kind)


def _by_value(node: Comparison, column: str, kind: ColumnType) -> str:
    match node.type:
        case "equals":
            return _equals(column, kind, node.value)
        case "not_equals":
            return f"({column} IS NOT NULL AND ({_equals(column, kind, node.value)}) IS NOT TRUE)"
        case "in":
            return _any([_equals(column, kind, value) for value in node.values])
        case "range":
            bounds = [(name, getattr(node, name)) for name in _SIGNS]
            return _all([_bounded(column, kind, name, bound) for name, bound in bounds if bound is not None])
        case _:
            msg = f"no comparison by value: {node.type}"
            raise ValueError(msg)


def _textual(node: Comparison, column: str) -> str:
    if node.type == "regex":
        return f"regexp_matches({column}, {text(node.pattern)}, '{'c' if node.case_sensitive else 'i'}')"
    if node.type != "contains" and node.type != "starts_with":  # noqa: PLR1714 - mypy narrows by it
        msg = f"no comparison of text: {node.type}"
        raise ValueError(msg)
    if node.case_sensitive:
        return f"{node.type}({column}, {text(node.value)})"
    return f"{node.type}(lower({column}), lower({text(node.value)}))"


def absent(node: Comparison) -> str:
    """The condition for a column that is nowhere: it is null in every row."""
    return "TRUE" if node.type == "null" and node.value else _NEVER


def text(value: str) -> str:
    """An SQL literal for any text; a null character would end the query."""
    return "(" + " || chr(0) || ".join(quote_text(part) for part in value.split("\0")) + ")"


def text_of(column: str, kind: ColumnType) -> str:
    """The text of a value: text as it is, anything else as its JSON."""
    if kind is ColumnType.STRING:
        return column
    if kind is ColumnType.JSON:
        # Text with lone surrogates is no text for DuckDB; its JSON is what can be looked at.
        return f"(CASE WHEN starts_with({column}, '\"') THEN coalesce(TRY({column}->>'$'), {column}) ELSE {column} END)"
    return f"CAST({column} AS VARCHAR)"


def _any(conditions: Sequence[str]) -> str:
    return f"({' OR '.join(conditions)})" if conditions else _NEVER


def _all(conditions: Sequence[str]) -> str:
    return f"({' AND '.join(conditions)})"


def _equals(column: str, kind: ColumnType, value: Scalar) -> str:
    if isinstance(value, bool):
        return _equals_bool(column, kind, value=value)
    if isinstance(value, str):
        return _equals_text(column, kind, value)
    return _number(column, kind, "=", value)


def _equals_bool(column: str, kind: ColumnType, *, value: bool) -> str:
    if kind is ColumnType.BOOL:
        return f"({column} = {_TRUE[value]})"
    return f"({column} = '{_TRUE[value]}')" if kind is ColumnType.JSON else _NEVER


def _equals_text(column: str, kind: ColumnType, value: str) -> str:
    if kind is ColumnType.STRING:
        return f"({column} = {text(value)})"
    if kind is ColumnType.JSON:
        written = jsontext.dumps(value).decode()
        return f"({column} = {text(written)} OR (starts_with({column}, '\"') AND TRY({column}->>'$') = {text(value)}))"
    return _NEVER


def _bounded(column: str, kind: ColumnType, name: str, bound: float | str) -> str:
    if not isinstance(bound, str):
        return _number(column, kind, _SIGNS[name], bound)
    if kind is ColumnType.STRING:
        return f"({column} {_SIGNS[name]} {text(bound)})"
    if kind is ColumnType.JSON:
        return f"(starts_with({column}, '\"') AND TRY({column}->>'$') {_SIGNS[name]} {text(bound)})"
    return _NEVER


def _number(column: str, kind: ColumnType, sign: str, value: float) -> str:
    if kind is ColumnType.INT64:
        return _integer(column, sign, value)
    if kind in (ColumnType.DOUBLE, ColumnType.NUMBER):
        number = column
    elif kind is ColumnType.JSON:
        # Only numbers begin like this; NaN and infinities are no numbers that somebody can ask for.
        number = f"(CASE WHEN regexp_matches({column}, '^-?[0-9]') THEN TRY_CAST({column} AS DOUBLE) END)"
    else:
        return _NEVER
    return f"(NOT isnan({number}) AND {number} {sign} {_double(value)})"


def _double(value: float) -> str:
    try:
        return f"CAST('{float(value)!r}' AS DOUBLE)"
    except OverflowError:
        return "CAST('inf' AS DOUBLE)" if value > 0 else "CAST('-inf' AS DOUBLE)"


def _integer(column: str, sign: str, value: float) -> str:
    """Exact, whatever the bound: no integer is rounded."""
    if sign == "=":
        whole = isinstance(value, int) or value.is_integer()
        return f"({column} = {int(value)})" if whole and abs(int(value)) <= _MAX_INT64 else _NEVER
    bound = math.ceil(value) if sign in ("<", ">=") else math.floor(value)
    if abs(bound) <= _MAX_INT64:
        return f"({column} {sign} {bound})"
    return f"({column} IS NOT NULL)" if (bound > 0) == (sign in ("<", "<=")) else _NEVER
