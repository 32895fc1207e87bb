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


_MOST_DEPTH: Final = 200


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
            self._refuse_nan(record)
        return text

    def _exact(self, record: Mapping[str, Any]) -> bytes:
        self._refuse_nan(record)
        for key, value in record.items():
            try:
                dumps_exact({key: value}, default=self._convert)
            except (TypeError, ValueError) as error:
                raise RowError(f"column {key!r}: {error}") from None
        return dumps_exact(record, default=self._convert)

    def _refuse_nan(self, record: Mapping[str, Any]) -> None:
        for key, value in record.items():
            if self._has_nan(value, 0):
                raise RowError(f"column {key!r}: NaN and infinities have no form outside the lake; use null")

    def _has_nan(self, value: object, depth: int) -> bool:
        if isinstance(value, float):
            return not math.isfinite(value)
        if value is None or isinstance(value, str | int) or depth > _MOST_DEPTH:
            return False
        if isinstance(value, Mapping):
            return any(self._has_nan(item, depth + 1) for item in value.values())
        if isinstance(value, list | tuple):
            return any(self._has_nan(item, depth + 1) for item in value)
        try:
            return self._has_nan(self._convert(value), depth + 1)
        except TypeError:  # it has no form at all, and is refused for that
            return False
