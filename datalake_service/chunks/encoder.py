"""Rows to JSONL lines, with a census of every value. Pure: no store, no clock.

The hot path is one look-up and one or two calls of orjson. A row's *shape* (its keys and the types of its values)
decides once how rows of that shape are encoded; the shapes met in a chunk are its census.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from itertools import chain
from operator import itemgetter
from typing import Any

import orjson

from datalake_service.catalog.columns import (
    BOOL,
    FLOAT,
    INT53,
    NESTED,
    NESTED_LONG,
    NULL,
    SYSTEM_COLUMNS,
    TEXT,
    kind_of,
    merge_censuses,
    normal_kinds,
)
from datalake_service.chunks.convert import convert, key_text
from datalake_service.errors import RowError
from datalake_service.jsontext import PASSTHROUGH, dumps, dumps_exact, orjson_reads_exactly

# Refuses integers beyond 53 bits, so that their kind is looked at; everything else of the shape is known.
_STRICT_LINE = PASSTHROUGH | orjson.OPT_STRICT_INTEGER | orjson.OPT_APPEND_NEWLINE

_KIND_OF_TYPE = {
    str: TEXT,
    int: INT53,
    float: FLOAT,
    bool: BOOL,
    type(None): NULL,
    list: NESTED,
    dict: NESTED,
    tuple: NESTED,
}

_Shape = tuple[object, ...]

_SHAPES = 10_000
"""Shapes to remember between chunks."""


_Doubtful = Callable[[Mapping[Any, Any]], object] | None
"""Picks, from a row of a shape, the values that orjson may have written as null (floats and nested values)."""

_NOT_MET: _Doubtful = list
"""Marks shapes that are not in the census yet."""
_BY_VALUE: _Doubtful = tuple
"""Marks shapes with keys or values that are not of JSON's own types: each value is converted and looked at."""


class RowEncoder:
    """Encodes rows to lines and keeps the census since it was last taken. Not thread-safe.

    Args:
        reserved: Columns that a row may not bring.
        finite: Columns in which a float is never NaN or infinite.
    """

    def __init__(self, *, reserved: tuple[str, ...] = SYSTEM_COLUMNS, finite: tuple[str, ...] = ()) -> None:
        """Start with an empty census."""
        self._reserved = reserved
        self._finite = frozenset(finite)
        self._shapes: dict[_Shape, _Doubtful] = {}
        self._met: dict[_Shape, _Doubtful] = {}
        self._slow_census: dict[str, set[str]] = {}

    def encode(self, row: object) -> bytes:
        """Return ``row`` as one line, newline included, and count its values in the census.

        ``row`` is a mapping, a dataclass or a pydantic model. It is not changed.

        Raises:
            RowError: It cannot be stored; the message names the column. The census is as before.
        """
        if type(row) is not dict:
            row = _as_dict(row)
        shape = (*row, *map(type, row.values()))
        doubtful = self._met.get(shape, _NOT_MET)
        met = doubtful is not _NOT_MET
        if not met:
            doubtful = self._look_at(row, shape)
        if doubtful is _BY_VALUE:
            return self._encode_values(row)
        try:
            line: bytes = orjson.dumps(row, convert, _STRICT_LINE)
        except TypeError:  # large integers, lone surrogates, odd keys inside: decided value by value
            return self._encode_values(row)
        if doubtful is not None and _null_hides_a_number(doubtful(row)):
            return self._encode_values(row)
        if not met:
            self._met[shape] = doubtful
        return line

    def take_census(self) -> dict[str, str]:
        """Return the census (column to kinds) of all rows since the last call, and start a new one."""
        fast = (_census_of_shape(shape) for shape in self._met)
        slow = {column: normal_kinds(kinds) for column, kinds in self._slow_census.items()}
        census = merge_censuses(chain(fast, [slow]))
        self._met = {}
        self._slow_census = {}
        return census

    def _look_at(self, row: Mapping[Any, Any], shape: _Shape) -> _Doubtful:
        """Decide, once for each shape, how its rows are encoded."""
        if shape not in self._shapes:
            for name in self._reserved:
                if name in row:
                    msg = f"column {name!r} is a system column: leave it out, or give it another name"
                    raise RowError(msg)
            if len(self._shapes) >= _SHAPES:
                self._shapes.clear()  # rows that share no shape: forget, rather than grow with the rows
            self._shapes[shape] = _doubtful_values(row, self._finite)
        return self._shapes[shape]

    def _encode_values(self, row: Mapping[Any, Any]) -> bytes:
        """The line of any other row, looking at each value."""
        plain: dict[str, object] = {}
        for key, value in row.items():
            plain[_column(key)] = _plain(key, value)
        if "id" in plain:
            plain["id"] = _id_text(plain["id"])
        line = self._dump(plain)
        nested = NESTED if orjson_reads_exactly(line) else NESTED_LONG
        for column, value in plain.items():
            kind = kind_of(value)
            self._slow_census.setdefault(column, set()).add(nested if kind == NESTED else kind)
        return line

    @staticmethod
    def _dump(plain: dict[str, object]) -> bytes:
        try:
            return dumps(plain, default=convert) + b"\n"
        except (TypeError, ValueError):
            for column, value in plain.items():  # which one?
                try:
                    dumps_exact(value, default=convert)
                except (TypeError, ValueError) as error:
                    msg = f"column {column!r}: {error}"
                    raise RowError(msg) from None
            raise


def _as_dict(row: object) -> dict[Any, Any]:
    if isinstance(row, Mapping):
        return dict(row)
    if dataclasses.is_dataclass(row) and not isinstance(row, type):
        return {item.name: getattr(row, item.name) for item in dataclasses.fields(row)}
    dump = getattr(row, "model_dump", None)
    if dump is not None and not isinstance(row, type):
        return dict(dump())
    msg = f"a row must be a mapping, a dataclass or a pydantic model, not {type(row).__name__}"
    raise RowError(msg)


def _doubtful_values(row: Mapping[Any, Any], finite: frozenset[str]) -> _Doubtful:
    doubtful = []
    for key, value in row.items():
        kind = _KIND_OF_TYPE.get(type(value))
        if kind is None or type(key) is not str or (key == "id" and kind not in (TEXT, NULL)):
            return _BY_VALUE
        if kind == NESTED or (kind == FLOAT and key not in finite):
            doubtful.append(key)
    return itemgetter(*doubtful) if doubtful else None


def _null_hides_a_number(values: object) -> bool:
    """Whether orjson wrote a NaN or an infinity in ``values`` as null.

    Writing the few doubtful values again and looking for a null there costs a third of looking through the line.
    """
    return b"null" in orjson.dumps(values, convert, PASSTHROUGH) and _has_nonfinite(values)


def _census_of_shape(shape: tuple[Any, ...]) -> dict[str, str]:
    middle = len(shape) // 2
    columns, types = shape[:middle], shape[middle:]
    return {str(column): _KIND_OF_TYPE[kind] for column, kind in zip(columns, types, strict=True)}


def _has_nonfinite(value: object) -> bool:
    """Whether a NaN, an infinity, or anything that may be converted to one, is in ``value``."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(_has_nonfinite, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_has_nonfinite, value))
    return not (value is None or isinstance(value, (str, int)))


def _column(key: object) -> str:
    try:
        return key_text(key)
    except TypeError as error:
        msg = f"column {key!r}: {error}"
        raise RowError(msg) from None


def _plain(key: object, value: object) -> object:
    """``value`` itself if it is of a JSON type (subclasses as their plain value), else converted."""
    if type(value) in _KIND_OF_TYPE:
        return value
    try:
        return convert(value)
    except (TypeError, ValueError) as error:
        msg = f"column {key!r}: {error}"
        raise RowError(msg) from None
    except RecursionError:
        msg = f"column {key!r}: nested too deeply"
        raise RowError(msg) from None


def _id_text(value: object) -> str | None:
    """A row's own ``id``: text, never parsed; integers as their digits."""
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and kind_of(value) == TEXT:
        return value
    found = "text with lone surrogates" if isinstance(value, str) else type(value).__name__
    msg = f"column 'id': an id is text or an integer, not {found}"
    raise RowError(msg)
