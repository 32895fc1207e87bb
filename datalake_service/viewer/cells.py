"""Values of rows as JSON that a browser reads without loss, and that can do no harm.

Nothing is ever NaN, a lone surrogate or a number that JavaScript would round: those go as text, and are said to be so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

import orjson

from datalake_service.catalog.columns import EXACT_IN_DOUBLE, ColumnType

_MAX_DEPTH: Final = 200
"""Deeper values are shown as text: browsers give up on them."""
REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"

TYPES: Final = {
    ColumnType.NULL: "text",
    ColumnType.BOOL: "bool",
    ColumnType.INT64: "int",
    ColumnType.DOUBLE: "float",
    ColumnType.NUMBER: "float",
    ColumnType.STRING: "text",
    ColumnType.JSON: "json",
}
"""What the page calls the types of columns."""
_TIMES: Final = frozenset({"_created_at", "_annotated_at"})


def type_name(column: str, kind: ColumnType) -> str:
    """What the page calls the type of a column."""
    return "time" if column in _TIMES else TYPES[kind]


class CellWriter:
    """Makes values safe, and notes whether one had to become text."""

    def __init__(self) -> None:
        """Nothing was noted yet."""
        self.big = False
        """Whether an integer became text since somebody set this to false."""

    def safe(self, value: object, depth: int = 0) -> object:  # noqa: PLR0911 - one return for each kind
        """A value that orjson writes and JavaScript reads exactly."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return text(value)
        if isinstance(value, int):
            if -EXACT_IN_DOUBLE <= value <= EXACT_IN_DOUBLE:
                return value
            self.big = True
            return _digits(value)
        if isinstance(value, float):
            return value if math.isfinite(value) else _not_finite(value)
        if depth >= _MAX_DEPTH:
            return "…"
        if isinstance(value, Mapping):
            return {text(str(key)): self.safe(item, depth + 1) for key, item in value.items()}
        if isinstance(value, Sequence):
            return [self.safe(item, depth + 1) for item in value]
        return text(str(value))


def text(value: str) -> str:
    """Text that is UTF-8: lone surrogates are replaced, visibly."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "replace").decode() if value.isascii() else _replaced(value)
    return value


def _replaced(value: str) -> str:
    return "".join(REPLACEMENT if "\ud800" <= character <= "\udfff" else character for character in value)


def _digits(value: int) -> str:
    try:
        return str(value)
    except ValueError:  # thousands of digits
        return hex(value)


def _not_finite(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def dump(value: object) -> bytes:
    """Write an answer, whatever names there are in it."""
    try:
        return orjson.dumps(value)
    except TypeError:  # a lone surrogate in a name
        return orjson.dumps(CellWriter().safe(value))
