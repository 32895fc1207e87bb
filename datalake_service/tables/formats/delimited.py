"""Rows as lines of CSV (RFC 4180, UTF-8, line feeds): what a query returned, for spreadsheets and other tools."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from datalake_service.catalog.columns import ColumnType
from datalake_service.tables.formats.rows import decoded

_SPECIAL = frozenset('",\r\n')


def header_line(names: Sequence[str]) -> bytes:
    """The line with the names of the columns."""
    return (",".join(_quoted(name) for name in names) + "\n").encode("utf-8", "backslashreplace")


class CsvMaker:
    """Makes lines of one batch out of tuples."""

    def __init__(self, kinds: Sequence[ColumnType | None]) -> None:
        """Say how each value of a tuple is stored (``None``: nowhere)."""
        self._json = [index for index, kind in enumerate(kinds) if kind is ColumnType.JSON]

    def __call__(self, tuples: list[tuple[Any, ...]]) -> bytes:
        """Make the lines, each with a line feed."""
        columns: list[Sequence[Any]] = list(zip(*tuples, strict=True))
        for index in self._json:
            values = decoded(columns[index])
            # Text is itself, anything else its JSON as it is stored.
            columns[index] = [
                value if isinstance(value, str) else stored
                for value, stored in zip(values, columns[index], strict=True)
            ]
        lines = [",".join(map(_field, values)) for values in zip(*columns, strict=True)]
        return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")


def _field(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return str(value)


def _quoted(text: str) -> str:
    """Text in quotes where others would read something else; empty text is not null."""
    if not text or not _SPECIAL.isdisjoint(text) or text[0] == " " or text[-1] == " ":
        return '"' + text.replace('"', '""') + '"'
    return text
