"""Python values to items of a DynamoDB table, exactly, and how large they are there. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from datalake_service.errors import RowError
from datalake_service.writers.records import Convert

MOST_DIGITS: Final = 38
_LARGEST: Final = Decimal("9.9999999999999999999999999999999999999E+125")
_SMALLEST: Final = Decimal("1E-130")
_MOST_DEPTH: Final = 32
"""Levels that DynamoDB holds below an attribute."""
_NESTED_BYTES: Final = 3
_ELEMENT_BYTES: Final = 1

AttributeValue = dict[str, Any]
"""One typed value, as DynamoDB's JSON has it: ``{"S": "text"}``."""


class ItemEncoder:
    """Makes items of records."""

    def __init__(self, convert: Convert) -> None:
        """Convert what neither DynamoDB nor JSON has a form for with ``convert``."""
        self._convert = convert

    def encode(self, record: Mapping[str, Any]) -> dict[str, AttributeValue]:
        """Return the item of a record.

        Raises:
            RowError: A value or a name cannot be stored; the message names the column.
        """
        item: dict[str, AttributeValue] = {}
        for key, value in record.items():
            try:
                item[_name(key)] = self._value(value, 1)
            except (TypeError, ValueError) as error:
                raise RowError(f"column {key!r}: {error}") from None
        return item

    def _value(self, value: object, depth: int) -> AttributeValue:  # noqa: PLR0911 - one line for each type
        if isinstance(value, str):
            return {"S": _text(value)}
        if value is None:
            return {"NULL": True}
        if isinstance(value, bool):
            return {"BOOL": value}
        if isinstance(value, int | float | Decimal):
            return {"N": number_text(value)}
        if isinstance(value, bytes | bytearray | memoryview):
            return {"B": bytes(value)}
        if depth > _MOST_DEPTH:
            raise ValueError(f"nested deeper than the {_MOST_DEPTH} levels that DynamoDB holds")
        if isinstance(value, Mapping):
            return {"M": {_name(key): self._value(item, depth + 1) for key, item in value.items()}}
        if isinstance(value, list | tuple):
            return {"L": [self._value(item, depth + 1) for item in value]}
        if isinstance(value, set | frozenset):
            return _set(value)
        return self._value(self._convert(value), depth + 1)


def number_text(value: float | Decimal) -> str:
    """Return a number as DynamoDB keeps it, without losing a digit.

    Raises:
        ValueError: It has more digits, or another magnitude, than DynamoDB holds.
    """
    try:
        number = Decimal(float.__repr__(value)) if isinstance(value, float) else Decimal(value)
    except ValueError as error:  # integers of thousands of digits
        raise ValueError(f"a number of more than the {MOST_DIGITS} digits that DynamoDB holds") from error
    if not number.is_finite():
        raise ValueError("NaN and infinities have no form in DynamoDB; use null")
    if not number:
        return "0"
    significant = len("".join(map(str, number.as_tuple().digits)).strip("0"))
    if significant > MOST_DIGITS:
        raise ValueError(f"a number of {significant} digits; DynamoDB holds {MOST_DIGITS}")
    if not _SMALLEST <= number.copy_abs() <= _LARGEST:  # abs() would round to the digits of the context
        raise ValueError("a number outside of what DynamoDB holds (1E-130 to 9.9…E+125, positive or negative)")
    return str(number)


def size_of(item: Mapping[str, AttributeValue]) -> int:
    """Bytes of an item as DynamoDB counts them; of numbers, the least that it may be."""
    return sum(len(name.encode()) + _size(value) for name, value in item.items())


def _size(value: AttributeValue) -> int:
    ((kind, content),) = value.items()
    if kind in {"BOOL", "NULL"}:
        return 1
    if kind == "M":
        names = sum(len(name.encode()) for name in content)
        return _NESTED_BYTES + names + sum(_size(inner) + _ELEMENT_BYTES for inner in content.values())
    if kind == "L":
        return _NESTED_BYTES + sum(_size(inner) + _ELEMENT_BYTES for inner in content)
    if kind in {"SS", "NS", "BS"}:
        return sum(_scalar_size(kind[0], element) for element in content)
    return _scalar_size(kind, content)


def _scalar_size(kind: str, content: str | bytes) -> int:
    if isinstance(content, bytes):
        return len(content)
    return _number_size(content) if kind == "N" else len(content.encode())


def _number_size(text: str) -> int:
    digits = sum(character.isdigit() for character in text.partition("E")[0].strip("-0."))
    return 1 + (digits + 1) // 2


def _set(value: set[Any] | frozenset[Any]) -> AttributeValue:
    if value and all(isinstance(element, str) for element in value):
        return {"SS": sorted(map(_text, value))}
    if value and all(isinstance(element, bytes) for element in value):
        return {"BS": sorted(value)}
    if value and all(isinstance(element, int | float | Decimal) and not isinstance(element, bool) for element in value):
        return {"NS": sorted(map(number_text, value))}
    raise TypeError("a set has to hold texts, numbers or bytes, at least one, all of one kind")


def _name(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a key of type {type(key).__name__}; names of attributes are text")
    if not key:
        raise ValueError("a key is empty; names of attributes have at least one character")
    return _text(key)


def _text(value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("text with lone surrogates, which is no UTF-8") from None
    return str.__str__(value)
