"""Kinds of values and the column types that follow from them. Pure; see ``docs/design/001-lake-format.md``.

A census maps a column to the kinds of values seen in it, as a string of one-letter codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

NULL, BOOL, INT53, INT64, BIG, FLOAT, TEXT, SURROGATES, NESTED = "n", "b", "i", "I", "B", "f", "s", "x", "j"
NESTED_LONG = "J"
"""An array or object in whose text stands a number of 19 digits or more: a reader that is fast may not be exact.
Only writers tell it from ``NESTED``, to spare readers of the other chunks a look at every byte."""

NEEDS_CARE = frozenset({BIG, SURROGATES, NESTED_LONG})
"""Kinds that orjson does not read as ``json`` does."""

EXACT_IN_DOUBLE = 2**53
_INT64_MAX = 2**63 - 1

SYSTEM_COLUMNS = ("_batch", "_created_at")
"""Columns that the merge adds; a row may not bring them."""


class ColumnType(StrEnum):
    """How a column is stored; the value stands in the Parquet field's metadata."""

    NULL = "null"
    BOOL = "bool"
    INT64 = "int64"
    DOUBLE = "double"
    STRING = "string"
    NUMBER = "number"
    """Integers and floats, all exact in a double; JSON text in Parquet, double in SQL and Arrow."""
    JSON = "json"

    @property
    def is_json_text(self) -> bool:
        """Whether Parquet holds JSON text that Python must decode."""
        return self in (ColumnType.NUMBER, ColumnType.JSON)


_NATIVE = {
    frozenset(): ColumnType.NULL,
    frozenset(BOOL): ColumnType.BOOL,
    frozenset(INT53): ColumnType.INT64,
    frozenset(INT64): ColumnType.INT64,
    frozenset(INT53 + INT64): ColumnType.INT64,
    frozenset(FLOAT): ColumnType.DOUBLE,
    frozenset(TEXT): ColumnType.STRING,
    frozenset(INT53 + FLOAT): ColumnType.NUMBER,
}


def column_type(kinds: Iterable[str]) -> ColumnType:
    """The type of a column in which values of ``kinds`` were seen."""
    return _NATIVE.get(frozenset(kinds) - {NULL}, ColumnType.JSON)


def kind_of(value: object) -> str:
    """The kind of one JSON value (what ``json.loads`` can return).

    Raises:
        TypeError: Not a JSON value.
    """
    if isinstance(value, str):
        return TEXT if _is_utf8(value) else SURROGATES
    for types, kind in _KIND_OF_INSTANCE:
        if isinstance(value, types):
            return kind if kind != INT53 else _kind_of_integer(value)
    msg = f"no JSON value: {type(value).__name__}"
    raise TypeError(msg)


# bool before int, whose subclass it is.
_KIND_OF_INSTANCE: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (type(None), NULL),
    (bool, BOOL),
    (int, INT53),
    (float, FLOAT),
    ((dict, list, tuple), NESTED),
)


def _kind_of_integer(value: Any) -> str:  # noqa: ANN401 - an integer, as the caller has seen
    if -EXACT_IN_DOUBLE <= value <= EXACT_IN_DOUBLE:
        return INT53
    return INT64 if -_INT64_MAX - 1 <= value <= _INT64_MAX else BIG


def _is_utf8(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def merge_censuses(censuses: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The union: every column with all kinds seen in it, columns in the order they were first met."""
    merged: dict[str, str] = {}
    for census in censuses:
        for column, kinds in census.items():
            known = merged.get(column)
            if known is None:
                merged[column] = normal_kinds(kinds)
            elif not set(kinds) <= set(known):
                merged[column] = normal_kinds(known + kinds)
    return merged


def normal_kinds(kinds: Iterable[str]) -> str:
    """Kinds as a sorted string without repetition."""
    return "".join(sorted(set(kinds)))
