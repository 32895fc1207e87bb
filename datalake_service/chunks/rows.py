"""Lines to rows of a batch: every row gets its id, and what may not be in a row is refused.

The same lines of the same file always give the same rows and ids, whoever reads them and when.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from typing import Any

from datalake_service.catalog.columns import SYSTEM_COLUMNS, TEXT, kind_of, normal_kinds
from datalake_service.catalog.layout import ChunkName
from datalake_service.chunks.reader import Lines

_FOREIGN_ID_BYTES = 16
_RESERVED = frozenset(SYSTEM_COLUMNS)


@dataclass(frozen=True, slots=True)
class Origin:
    """What the name of a file says about its rows."""

    name: str
    """Last segment of its key."""
    chunk: ChunkName | None
    """``None``: a foreign file."""


def identify(lines: Lines, origin: Origin, *, trusted: bool) -> list[str]:
    """Take the id of every row out of it, and answer the ids; rows that cannot stay become bad lines.

    ``trusted``: our own writer made these bytes, so that no row brings a system column.
    """
    reasons: dict[int, str] = {}
    if not trusted:
        for index, row in enumerate(lines.rows):
            if not _RESERVED.isdisjoint(row):
                column = next(name for name in SYSTEM_COLUMNS if name in row)
                reasons[index] = f"column {column!r} is a system column"
    ids: list[Any] = [row.pop("id", None) for row in lines.rows]
    types = set(map(type, ids))
    if not types <= {str, type(None)} or not lines.exact:
        for index, value in enumerate(ids):
            try:
                ids[index] = _own_id(value)
            except ValueError as error:
                reasons.setdefault(index, str(error))
    if type(None) in types:
        _derive(ids, lines, origin)
    if reasons:
        lines.refuse(reasons)
        ids = [value for index, value in enumerate(ids) if index not in reasons]
    return ids


def _own_id(value: object) -> str | None:
    """A row's own id: text, an integer as its digits, or none."""
    if value is None:
        return None
    if isinstance(value, str):
        if kind_of(value) == TEXT:
            return value
        raise ValueError("column 'id': text with lone surrogates")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    msg = f"column 'id': an id is text or an integer, not a JSON {_JSON_NAMES[type(value)]}"
    raise ValueError(msg)


_JSON_NAMES = {bool: "boolean", float: "number with a fraction", list: "array", dict: "object"}


def _derive(ids: list[Any], lines: Lines, origin: Origin) -> None:
    """Fill in ids from where the row stands, or, in a foreign file, from what it says there."""
    if origin.chunk is not None:
        start = f"{origin.chunk.run}-{origin.chunk.number:05d}-"
        for index, value in enumerate(ids):
            if value is None:
                ids[index] = f"{start}{lines.numbers[index]}"
        return
    name = origin.name.encode("utf-8", "surrogatepass")
    data, ends = memoryview(lines.data), lines.ends()
    for index, value in enumerate(ids):
        if value is None:
            number = lines.numbers[index]
            place = number - lines.first
            digest = blake2b(b"%s\0%d\0" % (name, number), digest_size=_FOREIGN_ID_BYTES)
            digest.update(data[ends[place - 1] + 1 if place else 0 : ends[place]])
            ids[index] = digest.hexdigest()


class Census:
    """The kinds of values in each column of all rows that were counted, columns in the order they first came."""

    def __init__(self) -> None:
        """Nothing was counted yet."""
        self._kinds: dict[str, set[str]] = {}

    def count(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Count rows."""
        rows = list(rows)
        for column in dict.fromkeys(chain.from_iterable(rows)):
            known = self._kinds.setdefault(column, set())
            known.update({kind_of(row[column]) for row in rows if column in row})

    def kinds(self) -> dict[str, str]:
        """Column to kinds."""
        return {column: normal_kinds(kinds) for column, kinds in self._kinds.items()}
