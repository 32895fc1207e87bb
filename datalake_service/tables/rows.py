"""Rows as Python values: what a query returned, decoded exactly as it went in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from datalake_service import jsontext

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

    def __missing__(self, key: object) -> Any:  # noqa: ANN401 - like any value of a row
        """System columns that were not selected."""
        if key == _BATCH:
            return self.batch
        if key == _CREATED_AT:
            return self.created_at
        raise KeyError(key)


class RowMaker:
    """Makes rows of one batch out of tuples whose last value is the time of creation."""

    def __init__(self, names: Sequence[str], is_json: Sequence[bool], *, batch: str) -> None:
        """Name the values of each tuple, and say which of them are JSON text."""
        self._names = tuple(names)
        self._json = [index for index, encoded in enumerate(is_json) if encoded]
        self._batch = batch

    def __call__(self, tuples: list[tuple[Any, ...]]) -> list[ExportRow]:
        """Make the rows."""
        if self._json and tuples:
            columns: list[Sequence[Any]] = list(zip(*tuples, strict=True))
            for index in self._json:
                columns[index] = decoded(columns[index])
            tuples = list(zip(*columns, strict=True))
        rows = []
        names, batch = self._names, self._batch
        for values in tuples:
            row = ExportRow(zip(names, values))  # noqa: B905 - one value more than names: the time of creation
            row.batch = batch
            row.created_at = values[-1]
            rows.append(row)
        return rows


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
