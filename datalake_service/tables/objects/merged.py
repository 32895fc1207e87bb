"""Reading merged objects: their footer, their commit record, and one row group at a time.

Reads ranges of one version; a merged object is never held as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from datalake_service.errors import StoreError
from datalake_service.storage.base import ObjectMeta, ObjectStore
from datalake_service.tables.formats.schema import METADATA_KEY, MergedMetadata, TableSchema
from datalake_service.tables.formats.values import to_values
from datalake_service.tables.objects.ranged import RangedFile


class MergedFile:
    """One version of a merged object. Not thread-safe; ``close`` it."""

    def __init__(self, store: ObjectStore, meta: ObjectMeta) -> None:
        """Read the footer of the version that ``meta`` describes.

        Raises:
            PreconditionFailedError: The object was replaced; look at it again.
            StoreError: It is no merged object, or one of a newer format.
        """
        self.meta = meta
        try:
            # Threads of Arrow's must not touch Python's objects: one that lets go of bytes while the interpreter ends
            # aborts the process. So nothing is read ahead by Arrow, and what it reads is fetched here (``_hold``).
            self._bytes = RangedFile(store, meta)
            self._file = pq.ParquetFile(pa.PythonFile(self._bytes, mode="r"), pre_buffer=False)
        except pa.ArrowInvalid as error:
            msg = f"{meta.key} is no complete Parquet file: move it away, or restore it"
            raise StoreError(msg) from error
        record = (self._file.metadata.metadata or {}).get(METADATA_KEY, b"null")
        self.metadata = MergedMetadata.from_json(record, key=meta.key)
        self.schema = TableSchema.from_arrow(self._file.schema_arrow, key=meta.key)

    @property
    def rows(self) -> int:
        """Rows in all groups."""
        return int(self._file.metadata.num_rows)

    @property
    def group_sizes(self) -> list[int]:
        """Rows in each row group."""
        return [self._file.metadata.row_group(number).num_rows for number in range(self._file.num_row_groups)]

    def read_group(self, number: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Read one row group; ``columns`` are true names (default: all), in the order of the object.

        Raises:
            PreconditionFailedError: The object was replaced.
            StoreError: The row group cannot be read.
        """
        wanted = None if columns is None else [self.field_name(name) for name in columns]
        try:
            self._hold(number, wanted)
            return self._file.read_row_group(number, columns=wanted, use_threads=False)
        except (pa.ArrowInvalid, OSError) as error:
            msg = f"{self.meta.key} has a damaged row group {number}: restore the object, or move it away"
            raise StoreError(msg) from error

    def _hold(self, number: int, fields: Sequence[str] | None) -> None:
        """Fetch the bytes of the columns of a row group, in as few requests as they need."""
        group = self._file.metadata.row_group(number)
        chunks = [group.column(index) for index in range(group.num_columns)]
        self._bytes.hold(
            (start, start + chunk.total_compressed_size)
            for chunk in chunks
            if fields is None or chunk.path_in_schema in fields
            for start in [chunk.dictionary_page_offset or chunk.data_page_offset]
        )

    def field_name(self, column: str) -> str:
        """The Parquet field that holds a column."""
        for item, name in zip(self.schema.columns, self.schema.field_names, strict=True):
            if item.name == column:
                return name
        msg = f"{self.meta.key} has no column {column!r}"
        raise KeyError(msg)

    def values(self, table: pa.Table, column: str) -> list[Any]:
        """The JSON values of one column of a table from ``read_group``; all ``None`` if there is no such column."""
        for item, name in zip(self.schema.columns, self.schema.field_names, strict=True):
            if item.name == column:
                return to_values(table.column(name), item.type)
        return [None] * len(table)

    def close(self) -> None:
        """Free what it holds."""
        self._file.close()
