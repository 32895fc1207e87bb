"""Rows as Python values or as lines of JSON: what a query returned, exactly as it went in."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from datalake_interfaces.annotators import DataItem
from datalake_service import jsontext
from datalake_service.catalog.columns import ColumnType

_BATCH, _CREATED_AT = "_batch", "_created_at"


class ExportRow(dict[str, Any]):
    """One row: ``id``, base columns by their name, columns of annotators as ``lang.label``. Null is ``None``.

    ``row["_batch"]`` and ``row["_created_at"]`` can be asked for, but are no keys unless they were selected: so
    ``{**row, …}`` can be stored in another dataset.
    """

    __slots__ = ("batch", "created_at")

    batch: str
    """The batch that the row is in."""
    created_at: str | None
    """When the row was written: ISO 8601, UTC."""

    @property
    def id(self) -> str:
        """The row's id, unique in its batch."""
        row_id: str = self["id"]
        return row_id

    def __missing__(self, key: object) -> str | None:
        """System columns that were not selected."""
        if key == _BATCH:
            return self.batch
        if key == _CREATED_AT:
            return self.created_at
        raise KeyError(key)


class RowMaker:
    """Makes rows of one batch out of tuples whose last value is the time of creation."""

    def __init__(self, names: Sequence[str], kinds: Sequence[ColumnType | None], *, batch: str) -> None:
        """Name the values of each tuple, and say how each is stored (``None``: nowhere)."""
        self._names = tuple(names)
        self._json = _json_columns(kinds)
        self._batch = batch

    def __call__(self, tuples: list[tuple[Any, ...]]) -> list[ExportRow]:
        """Make the rows."""
        rows = []
        names, batch = self._names, self._batch
        for values in _read_json(tuples, self._json):
            row = ExportRow(zip(names, values))  # noqa: B905 - one value more than names: the time of creation
            row.batch = batch
            row.created_at = values[-1]
            rows.append(row)
        return rows


class ItemMaker:
    """Makes items of one batch for annotators; their data are plain dicts, which cost half of what rows cost."""

    def __init__(self, names: Sequence[str], kinds: Sequence[ColumnType | None], *, batch: str) -> None:
        """Name the values of each tuple, ``id`` among them, and say how each is stored (``None``: nowhere)."""
        self._names = tuple(names)
        self._id = self._names.index("id")
        self._json = _json_columns(kinds)
        self._batch = batch

    def __call__(self, tuples: list[tuple[Any, ...]]) -> list[DataItem]:
        """Make the items."""
        names, batch, row_id = self._names, self._batch, self._id
        rows = _read_json(tuples, self._json)
        return [DataItem(dict(zip(names, row)), row[row_id], batch) for row in rows]  # noqa: B905 - a third faster


def _json_columns(kinds: Sequence[ColumnType | None]) -> list[int]:
    return [index for index, kind in enumerate(kinds) if kind is not None and kind.is_json_text]


def _read_json(tuples: list[tuple[Any, ...]], positions: Sequence[int]) -> list[tuple[Any, ...]]:
    """The tuples with the values at these positions, which are stored as JSON text, as what they mean."""
    if not (positions and tuples):
        return tuples
    columns: list[Sequence[Any]] = list(zip(*tuples, strict=True))
    for index in positions:
        columns[index] = decoded(columns[index])
    return list(zip(*columns, strict=True))


class LineMaker:
    """Makes lines of JSON of one batch out of tuples. Values that are stored as JSON text are passed through."""

    def __init__(self, names: Sequence[str], kinds: Sequence[ColumnType | None]) -> None:
        """Name the values of each tuple, and say how each is stored (``None``: nowhere)."""
        self._names = tuple(names)
        self._json = _json_columns(kinds)
        self._doubles = [index for index, kind in enumerate(kinds) if kind is ColumnType.DOUBLE]
        self._odd_names = any(not _is_utf8(name) for name in names)

    def __call__(self, tuples: list[tuple[Any, ...]]) -> bytes:
        """Make the lines, each with a line feed."""
        columns: list[Sequence[Any]] = list(zip(*tuples, strict=True))
        if self._odd_names:
            for index in self._json:
                columns[index] = decoded(columns[index])
            rows = (dict(zip(self._names, values, strict=True)) for values in zip(*columns, strict=True))
            return b"".join([jsontext.dumps(row) + b"\n" for row in rows])
        for index in self._json:
            columns[index] = [None if text is None else orjson.Fragment(text) for text in columns[index]]
        for index in self._doubles:
            columns[index] = [_exact(value) for value in columns[index]]
        dumps, names, option = orjson.dumps, self._names, orjson.OPT_APPEND_NEWLINE
        lines = [dumps(dict(zip(names, values, strict=True)), None, option) for values in zip(*columns, strict=True)]
        return b"".join(lines)


def _exact(value: float | None) -> object:
    """What orjson would write as null."""
    return value if value is None or math.isfinite(value) else orjson.Fragment(jsontext.dumps_exact(value))


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def decoded(texts: Sequence[str | None]) -> list[Any]:
    """Read a column of JSON texts; ``None`` stays."""
    present = [text for text in texts if text is not None]
    # One look at the whole column tells whether the fast parser reads every number in it exactly.
    exact = jsontext.orjson_reads_exactly("\n".join(present).encode("utf-8", "surrogatepass"))
    loads: Callable[[str], Any] = orjson.loads if exact else jsontext.loads
    try:
        return [None if text is None else loads(text) for text in texts]
    except orjson.JSONDecodeError:  # NaN, or lone surrogates
        return [None if text is None else jsontext.loads(text) for text in texts]
