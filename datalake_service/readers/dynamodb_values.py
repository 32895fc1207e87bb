"""DynamoDB's typed values as plain Python values and back, and as JSON. Pure; numbers stay exact.

Not ``boto3.dynamodb.types``: it wraps bytes in a class of its own, makes a ``Decimal`` of every whole number, and needs
the client library where only a value is looked at.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final


def plain_item(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of an item as plain values."""
    return {name: plain(value) for name, value in item.items()}


def plain(value: Mapping[str, Any]) -> object:
    """Return one typed value as a plain one; whole numbers as ``int``, others as ``Decimal``, sets as ``set``.

    Raises:
        ValueError: It has a type that DynamoDB does not have.
    """
    ((kind, content),) = value.items()
    try:
        return _PLAIN[kind](content)
    except KeyError:
        raise ValueError(f"DynamoDB has no type {kind}") from None


def number(text: str) -> int | Decimal:
    """Return a number exactly: ``int`` if it is whole and written so, else ``Decimal``."""
    try:
        return int(text)
    except ValueError:
        return Decimal(text)


def typed(value: object) -> dict[str, Any]:
    """Return a JSON value as a typed one. A mapping that is a typed value already is taken as it is.

    Raises:
        ValueError: It is none of JSON's.
    """
    if isinstance(value, Mapping):
        if len(value) == 1 and value.keys() <= _PLAIN.keys():
            return dict(value)
        return {"M": {str(name): typed(entry) for name, entry in value.items()}}
    if isinstance(value, list):
        return {"L": [typed(entry) for entry in value]}
    if value is None:
        return {"NULL": True}
    kind = next((kind for kind, types in _TYPED.items() if isinstance(value, types)), None)
    if kind is None:
        raise ValueError(f"a {type(value).__name__} is no value of JSON")
    return {kind: str(value) if kind == "N" else value}


def as_json(value: object) -> str:
    """Return typed values as JSON text, the same for equal values.

    Bytes are in base64, times in seconds since 1970; keys are sorted, and so are sets, which come in any order.
    """
    ordered = _ordered(value)
    return json.dumps(ordered, default=_special, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def from_json(text: str) -> dict[str, dict[str, Any]]:
    """Return what ``as_json`` was given, for a primary key: its values are text, numbers or bytes."""
    return {
        name: {kind: base64.b64decode(content) if kind == "B" else content for kind, content in value.items()}
        for name, value in json.loads(text).items()
    }


def _ordered(value: object) -> object:
    if isinstance(value, Mapping):
        return {
            name: sorted(entry) if name in _SETS and isinstance(entry, list) else _ordered(entry)
            for name, entry in value.items()
        }
    return [_ordered(entry) for entry in value] if isinstance(value, list) else value


def _special(value: object) -> object:
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime):
        return value.timestamp()
    raise TypeError(f"a {type(value).__name__} is no value of DynamoDB")


def _as_it_is(content: object) -> object:
    return content


_PLAIN: Final[Mapping[str, Callable[[Any], Any]]] = {
    "S": _as_it_is,
    "N": number,
    "B": _as_it_is,
    "BOOL": _as_it_is,
    "NULL": lambda _: None,
    "L": lambda entries: [plain(entry) for entry in entries],
    "M": plain_item,
    "SS": set,
    "NS": lambda entries: {number(entry) for entry in entries},
    "BS": set,
}
_SETS: Final = frozenset({"SS", "NS", "BS"})
_TYPED: Final[Mapping[str, type | tuple[type, ...]]] = {
    "BOOL": bool,
    "S": str,
    "N": (int, float, Decimal),
}  # a bool is an int, too: it comes first
