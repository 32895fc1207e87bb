"""JSON values to Arrow columns and back, exactly; and columns of one type to columns of a wider type.

A column type comes from a census. Values are checked against it on the way in, because a census may be wrong
(a chunk that was changed by hand): what does not fit is ``UnexpectedKindsError``, never a silent conversion.
"""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa

from datalake_service import jsontext
from datalake_service.catalog.columns import EXACT_IN_DOUBLE, ColumnType
from datalake_service.errors import MergeError
from datalake_service.tables.formats.arrays import array_of
from datalake_service.tables.formats.schema import TEXT_TYPE, arrow_type

_NONE = type(None)
_ACCEPTED: dict[ColumnType, frozenset[type]] = {
    ColumnType.NULL: frozenset({_NONE}),
    ColumnType.BOOL: frozenset({bool, _NONE}),
    ColumnType.INT64: frozenset({int, _NONE}),
    ColumnType.DOUBLE: frozenset({float, _NONE}),
    ColumnType.STRING: frozenset({str, _NONE}),
    ColumnType.NUMBER: frozenset({int, float, _NONE}),
}


class UnexpectedKindsError(MergeError):
    """Values do not fit the type that the census promised; the rows must be looked at again."""

    kind = "unexpected_kinds"


def to_arrow(values: list[Any], kind: ColumnType) -> pa.Array:
    """Store JSON values (``None``: missing) in a column of type ``kind``.

    Raises:
        UnexpectedKindsError: A value is of another type.
    """
    types = set(map(type, values))
    accepted = _ACCEPTED.get(kind)
    if accepted is not None and not types <= accepted:
        raise _unexpected(kind)
    if kind is ColumnType.NUMBER:
        _check_numbers(values)
    if kind.is_json_text:
        return _json_array(values, types)
    try:
        return array_of(values, arrow_type(kind))
    except (OverflowError, UnicodeEncodeError, pa.ArrowInvalid):
        raise _unexpected(kind) from None


def _unexpected(kind: ColumnType) -> UnexpectedKindsError:
    return UnexpectedKindsError(f"values do not fit a column of type {kind}")


def _json_array(values: list[Any], types: set[type]) -> pa.Array:
    if _NONE not in types:
        try:
            texts = list(map(orjson.dumps, values))
        except (TypeError, ValueError):
            pass
        else:
            if not any(b"null" in text for text in texts):  # NaN would be written as null
                return array_of(texts, TEXT_TYPE)
    return array_of([None if value is None else dump_json(value) for value in values], TEXT_TYPE)


def _check_numbers(values: list[Any]) -> None:
    for value in values:
        if type(value) is int and not -EXACT_IN_DOUBLE <= value <= EXACT_IN_DOUBLE:
            raise _unexpected(ColumnType.NUMBER)


def dump_json(value: object) -> bytes:
    """Write any value that was read from JSON, however deep: a row that was read can always be stored."""
    try:
        return jsontext.dumps(value)
    except ValueError:
        return _dump_deep(value)


class _Raw(bytes):
    """Text that goes out as it is."""

    __slots__ = ()


def _dump_deep(value: object) -> bytes:
    """Write a value with a stack of its own: orjson reads deeper nesting than Python can call."""
    parts: list[bytes] = []
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, _Raw):
            parts.append(item)
        elif isinstance(item, dict):
            stack.append(_Raw(b"}"))
            for number, (key, inner) in enumerate(reversed(item.items())):
                stack += [_Raw(b",")] * (number > 0)
                stack += [inner, _Raw(b":"), key]
            stack.append(_Raw(b"{"))
        elif isinstance(item, list):
            stack.append(_Raw(b"]"))
            for number, inner in enumerate(reversed(item)):
                stack += [_Raw(b",")] * (number > 0)
                stack.append(inner)
            stack.append(_Raw(b"["))
        else:
            parts.append(jsontext.dumps(item))
    return b"".join(parts)


def to_values(column: pa.Array | pa.ChunkedArray, kind: ColumnType) -> list[Any]:
    """Read the JSON values of a stored column back; missing values are ``None``."""
    texts: list[Any] = column.to_pylist()
    if not kind.is_json_text:
        return texts
    loads = jsontext.loads
    return [None if text is None else loads(text) for text in texts]


def widen(column: pa.ChunkedArray, old: ColumnType, new: ColumnType) -> pa.ChunkedArray:
    """Store a column of type ``old`` as type ``new``, with the same values.

    ``new`` follows from more kinds than ``old``, so it holds everything that ``old`` does.
    """
    if old is new or (old is ColumnType.NUMBER and new is ColumnType.JSON):
        return column
    if old is ColumnType.NULL:
        return pa.chunked_array([pa.nulls(len(column), arrow_type(new))])
    if not new.is_json_text:
        msg = f"a column cannot change from {old} to {new}"
        raise ValueError(msg)
    if old in (ColumnType.BOOL, ColumnType.INT64):
        return column.cast(TEXT_TYPE)  # true, false and digits are JSON already
    return pa.chunked_array([to_arrow(chunk.to_pylist(), new) for chunk in column.chunks], TEXT_TYPE)
