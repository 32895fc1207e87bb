"""Bounded numbers of consecutive rows, from JSON lines or from a merged object, as a merge handles them.

Rows of a merged object stay Arrow columns; only the values that somebody asks for become Python values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import compress
from operator import itemgetter
from typing import Any, Protocol

import pyarrow as pa

from datalake_service.errors import StoreError
from datalake_service.tables.formats.arrays import mask_of
from datalake_service.tables.formats.schema import TableSchema, arrow_type
from datalake_service.tables.formats.values import UnexpectedKindsError, to_arrow, to_values, widen
from datalake_service.tables.objects.merged import MergedFile
from datalake_service.tables.verdicts.bits import Mask

Row = dict[str, Any]


class Block(Protocol):
    """Consecutive rows of a merge."""

    @property
    def ids(self) -> Sequence[str]:
        """The id of each row."""
        ...

    def values(self, column: str) -> list[Any]:
        """The JSON values of a column; ``None`` where a row has none."""
        ...

    def table(self, schema: TableSchema, keep: Mask | None) -> pa.Table:
        """The rows set in ``keep`` (``None``: all), stored as ``schema`` says.

        Raises:
            UnexpectedKindsError: A value does not fit.
        """
        ...

    def stored(self, mask: Mask) -> Iterator[Row]:
        """The rows set in ``mask`` as they would be stored, system columns included."""
        ...

    def contents(self, mask: Mask) -> Iterator[Row]:
        """The rows set in ``mask`` as they came in, without ``id``."""
        ...


class ParsedBlock:
    """Rows that were parsed from lines."""

    def __init__(self, ids: Sequence[str], rows: Sequence[Row], system: Mapping[str, Sequence[Any]]) -> None:
        """Hold ``rows`` (without ``id``) and the values of the ``system`` columns that are not in them."""
        self._ids = ids
        self._rows = rows
        self._system = system

    @property
    def ids(self) -> Sequence[str]:
        """The id of each row."""
        return self._ids

    def values(self, column: str) -> list[Any]:
        """The JSON values of a column."""
        if column == "id":
            return list(self._ids)
        if column in self._system:
            return list(self._system[column])
        return _column(self._rows, column)

    def table(self, schema: TableSchema, keep: Mask | None) -> pa.Table:
        """Store the rows; see ``Block``."""
        rows, ids, system = self._rows, self._ids, self._system
        if keep is not None:
            chosen = keep.tolist()
            rows, ids = list(compress(rows, chosen)), list(compress(ids, chosen))
            system = {name: list(compress(values, chosen)) for name, values in system.items()}
        given = set().union(*rows)
        unknown = given.difference(column.name for column in schema.columns)
        if unknown:
            raise UnexpectedKindsError("rows have columns that no census named")
        arrays = []
        for column in schema.columns:
            if column.name == "id":
                arrays.append(to_arrow(list(ids), column.type))
            elif column.name in system:
                arrays.append(to_arrow(list(system[column.name]), column.type))
            elif column.name in given:
                arrays.append(to_arrow(_column(rows, column.name), column.type))
            else:
                arrays.append(pa.nulls(len(rows), arrow_type(column.type)))
        return pa.Table.from_arrays(arrays, schema=schema.arrow())

    def stored(self, mask: Mask) -> Iterator[Row]:
        """The rows with their system columns; see ``Block``."""
        for index in mask.nonzero()[0].tolist():
            system = {name: values[index] for name, values in self._system.items()}
            yield {"id": self._ids[index], **self._rows[index], **system}

    def contents(self, mask: Mask) -> Iterator[Row]:
        """The rows as they came in; see ``Block``."""
        for index in mask.nonzero()[0].tolist():
            yield self._rows[index]


def _column(rows: Sequence[Row], name: str) -> list[Any]:
    try:
        return list(map(itemgetter(name), rows))
    except KeyError:
        return [row.get(name) for row in rows]


class StoredBlock:
    """Rows of one row group of a merged object."""

    def __init__(self, file: MergedFile, table: pa.Table, *, system: Sequence[str]) -> None:
        """Hold ``table``, a row group of ``file``; ``system`` names the columns that no user brought."""
        self._file = file
        self._table = table
        self._system = frozenset(system)
        ids = file.values(table, "id")
        if None in ids:
            msg = f"{file.meta.key} has rows without an id: restore the object, or move it away"
            raise StoreError(msg)
        self._ids: list[str] = ids

    @property
    def ids(self) -> Sequence[str]:
        """The id of each row."""
        return self._ids

    def values(self, column: str) -> list[Any]:
        """The JSON values of a column."""
        return self._file.values(self._table, column)

    def table(self, schema: TableSchema, keep: Mask | None) -> pa.Table:
        """The rows with the columns and types of ``schema``; see ``Block``."""
        table = self._table if keep is None else self._table.filter(mask_of(keep))
        have = {
            column.name: (name, column.type)
            for column, name in zip(self._file.schema.columns, self._file.schema.field_names, strict=True)
        }
        arrays = []
        for column in schema.columns:
            if column.name in have:
                name, old = have[column.name]
                arrays.append(widen(table.column(name), old, column.type))
            else:
                arrays.append(pa.nulls(len(table), arrow_type(column.type)))
        return pa.Table.from_arrays(arrays, schema=schema.arrow())

    def stored(self, mask: Mask) -> Iterator[Row]:
        """The rows with their system columns; see ``Block``."""
        return self._rows(mask, frozenset())

    def contents(self, mask: Mask) -> Iterator[Row]:
        """The rows as they came in; see ``Block``."""
        return self._rows(mask, self._system | {"id"})

    def _rows(self, mask: Mask, without: frozenset[str]) -> Iterator[Row]:
        table = self._table.filter(mask_of(mask))
        columns = {
            column.name: to_values(table.column(name), column.type)
            for column, name in zip(self._file.schema.columns, self._file.schema.field_names, strict=True)
            if column.name not in without
        }
        if not columns:
            yield from ({} for _ in range(len(table)))
        for values in zip(*columns.values(), strict=True):
            yield {name: value for name, value in zip(columns, values, strict=True) if value is not None}
