"""The record that other destinations get: one flat JSON object, in a form that every JSON reader takes. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from datalake_service.errors import RowError
from datalake_service.jsontext import PASSTHROUGH, dumps_exact

Convert = Callable[[object], object]
"""Turns a value that JSON has no form for into one; raises ``TypeError`` if there is none."""


class RecordText:
    """Writes records as JSON text."""

    def __init__(self, convert: Convert) -> None:
        """Convert what JSON cannot hold with ``convert``."""
        self._convert = convert

    def encode(self, record: Mapping[str, Any]) -> bytes:
        """Return the JSON text of a record in UTF-8.

        Raises:
            RowError: It has none; the message names the key.
        """
        try:
            text = orjson.dumps(record, self._convert, PASSTHROUGH)
        except (TypeError, ValueError):  # numbers beyond 64 bits, lone surrogates, odd keys
            text = self._exact(record)
        if b"null" in text:  # orjson writes NaN as null
            refuse_nan(record)
        return text

    def _exact(self, record: Mapping[str, Any]) -> bytes:
        refuse_nan(record)
        for key, value in record.items():
            try:
                dumps_exact({key: value}, default=self._convert)
            except (TypeError, ValueError) as error:
                raise RowError(f"column {key!r}: {error}") from None
        return dumps_exact(record, default=self._convert)


_MOST_DEPTH: Final = 200


def refuse_nan(record: Mapping[str, Any]) -> None:
    """Refuse a record with a number that JSON has no form for.

    Raises:
        RowError: It has one; the message names the key.
    """
    for key, value in record.items():
        if _has_nan(value, 0):
            raise RowError(f"column {key!r}: NaN and infinities have no form outside the lake; use null")


def _has_nan(value: object, depth: int) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if depth > _MOST_DEPTH:
        return False
    if isinstance(value, Mapping):
        return any(_has_nan(item, depth + 1) for item in value.values())
    return isinstance(value, list | tuple) and any(_has_nan(item, depth + 1) for item in value)
