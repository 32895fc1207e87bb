"""Python values to JSON values: the one documented conversion of what ``json`` itself cannot write.

| Python | JSON |
| --- | --- |
| datetime, date, time | ISO 8601 text (``isoformat()``) |
| UUID | its text |
| Decimal | its text, so that no digit is lost |
| bytes, bytearray, memoryview | base64 text (RFC 4648, with padding) |
| numpy scalars, zero-dimensional arrays | the Python number, bool or text |
| numpy arrays | nested lists |
| enum members | their value |
| dataclasses, pydantic models, named tuples' fields | an object; a named tuple is a list, as ``json`` writes it |
| set, frozenset | a sorted list: equal sets must make equal rows, whatever order Python keeps them in |

Everything else is an error.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from uuid import UUID


def to_json_value(value: object) -> object:
    """Return ``value`` with everything in it turned into what ``json`` writes; JSON values come back equal.

    Raises:
        TypeError: There is no conversion; the message names the type.
    """
    if value is None or type(value) in (str, bool, int, float):
        return value
    if isinstance(value, Enum):
        return to_json_value(value.value)
    if isinstance(value, Mapping):
        return {key_text(key): to_json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json_value(item) for item in value]
    return convert(value)


def convert(value: object) -> object:
    """Convert one value that is no JSON value itself (also the ``default`` hook of the encoder).

    Raises:
        TypeError: There is no conversion; the message names the type.
    """
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, (UUID, Decimal)):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, (Enum, Mapping, tuple)):
        return to_json_value(value)
    if isinstance(value, (set, frozenset)):
        return [to_json_value(item) for item in _ordered(value)]
    converted = _convert_library_value(value)
    return converted if converted is not _NO_CONVERSION else _plain_subclass(value)


def _ordered(values: AbstractSet[object]) -> list[object]:
    """In their own order, where they have one; otherwise by what they look like as JSON."""
    try:
        return sorted(values)  # type: ignore[type-var]  # that is what is tried
    except TypeError:
        return sorted(values, key=lambda value: json.dumps(to_json_value(value), sort_keys=True))


_NO_CONVERSION = object()


def _convert_library_value(value: object) -> object:
    """Dataclasses, pydantic models and numpy values, recognised without importing the libraries."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: to_json_value(getattr(value, item.name)) for item in dataclasses.fields(value)}
    dump = getattr(value, "model_dump", None)
    if dump is not None and not isinstance(value, type):
        return to_json_value(dump())
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return to_json_value(value.tolist())
    return _NO_CONVERSION


def _plain_subclass(value: object) -> object:
    """The plain value of a subclass of a JSON type, as ``json`` writes it."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__index__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, (dict, list)):
        return to_json_value(value)
    msg = f"a value of type {_type_name(value)} cannot be stored as JSON"
    raise TypeError(msg)


def key_text(key: object) -> str:
    """The text that ``json`` writes for a key of an object.

    Raises:
        TypeError: ``json`` has no text for it.
    """
    if isinstance(key, str):
        return key if type(key) is str else str.__str__(key)
    if key is None:
        return "null"
    if key is True:
        return "true"
    if key is False:
        return "false"
    if isinstance(key, int):
        return int.__repr__(key)
    if isinstance(key, float):
        return _float_key(key)
    msg = f"a key of type {_type_name(key)} cannot be stored as JSON"
    raise TypeError(msg)


def _float_key(key: float) -> str:
    if key != key:  # noqa: PLR0124 - the only test for NaN that needs no import
        return "NaN"
    if key in (float("inf"), float("-inf")):
        return "Infinity" if key > 0 else "-Infinity"
    return float.__repr__(key)


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
