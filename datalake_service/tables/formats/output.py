"""Arrow tables and what is made of them: data frames, Parquet files. Names and types of a whole view.

Knows nothing of queries; takes the batches that one returns.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from datalake_service.catalog.columns import ColumnType
from datalake_service.errors import UsageError
from datalake_service.tables.formats.arrays import array_of
from datalake_service.tables.formats.schema import FIELD_NAME, FIELD_TYPE, physical_names
from datalake_utils.ids import random_hex

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    from typing_extensions import Buffer

_ARROW_TYPES = {
    ColumnType.BOOL: pa.bool_(),
    ColumnType.INT64: pa.int64(),
    ColumnType.DOUBLE: pa.float64(),
    ColumnType.NUMBER: pa.float64(),
}
_GROUP_ROWS = 50_000
_GROUP_BYTES = 64 << 20

TableColumns = Sequence[tuple[str, ColumnType]]
"""Label and type of each column."""


def arrow_schema(columns: TableColumns) -> pa.Schema:
    """The fields of a table: labels as names wherever Arrow can hold them, true labels and types as metadata."""
    names = physical_names([label for label, _ in columns])
    return pa.schema(
        [
            pa.field(
                name,
                _ARROW_TYPES.get(kind, pa.string()),
                metadata={FIELD_NAME: json.dumps(label).encode("ascii"), FIELD_TYPE: str(kind).encode("ascii")},
            )
            for name, (label, kind) in zip(names, columns, strict=True)
        ]
    )


def table_of(columns: TableColumns, batches: Iterable[pa.RecordBatch]) -> pa.Table:
    """All batches as one table."""
    schema = arrow_schema(columns)
    return pa.Table.from_batches(list(_named(schema, batches)), schema=schema)


def _named(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        arrays = [array.cast(field.type) for array, field in zip(batch.columns, schema, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def pandas_of(table: pa.Table) -> pd.DataFrame:
    """A data frame of pandas.

    Raises:
        UsageError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ModuleNotFoundError as error:
        raise UsageError("pandas is not installed: pip install 'datalake[pandas]'") from error
    # The default would make floats of integers, and objects of booleans, as soon as one value is null.
    exact = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    frame: pd.DataFrame = table.to_pandas(types_mapper=exact.get)
    return frame


def polars_of(table: pa.Table) -> pl.DataFrame:
    """A data frame of Polars.

    Raises:
        UsageError: Polars is not installed.
    """
    try:
        import polars as pl
    except ModuleNotFoundError as error:
        raise UsageError("polars is not installed: pip install 'datalake[polars]'") from error
    frame = pl.from_arrow(table)
    return frame if isinstance(frame, pl.DataFrame) else frame.to_frame()


def write_parquet(
    path: Path,
    columns: TableColumns,
    batches: Iterable[pa.RecordBatch],
    *,
    metadata: Callable[[], Mapping[str, str]] | None = None,
) -> int:
    """Write batches to a file, which appears when it is complete; returns the rows.

    ``metadata`` is asked after the last batch for what the file says of itself.

    Raises:
        UsageError: The file cannot be written.
    """
    schema = arrow_schema(columns)
    temporary = path.with_name(f".{path.name}.{random_hex(8)}.tmp")
    try:
        try:
            rows = _write(temporary, schema, batches, metadata)
            os.replace(temporary, path)  # noqa: PTH105 - the same on Path
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
    return rows


def write_parquet_shards(
    name: Callable[[int], Path], columns: TableColumns, batches: Iterable[pa.RecordBatch], *, shard_bytes: int
) -> Iterator[int]:
    """Write batches to files of about so many bytes in memory, ``name(0)``, ``name(1)``, …; yields the rows of each.

    There is one file at least. Files are not hidden while they are written.
    """
    schema = arrow_schema(columns)
    groups = _groups(schema, batches)
    group = next(groups, None)
    number = 0
    while group is not None or number == 0:
        rows = size = 0
        with pq.ParquetWriter(name(number), schema, compression="zstd", compression_level=3) as writer:
            while group is not None and size < shard_bytes:
                writer.write_table(group)
                rows, size = rows + len(group), size + group.nbytes
                group = next(groups, None)
        number += 1
        yield rows


class _Pieces(io.RawIOBase):
    """Takes what is written, and gives it away."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, data: Buffer, /) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._size += len(part)
        return len(part)

    def take(self) -> bytes:
        """What was written since the last call."""
        taken = b"".join(self._parts)
        self._parts.clear()
        return taken


def parquet_pieces(columns: TableColumns, batches: Iterable[pa.RecordBatch]) -> Iterator[bytes]:
    """The bytes of one Parquet file of all batches, as they are made; memory does not grow with the rows."""
    schema, pieces = arrow_schema(columns), _Pieces()
    with pq.ParquetWriter(pa.PythonFile(pieces, mode="w"), schema, compression="zstd", compression_level=3) as writer:
        for table in _groups(schema, batches):
            writer.write_table(table)
            yield pieces.take()
    yield pieces.take()


def batch_of(columns: TableColumns, rows: Sequence[tuple[Any, ...]]) -> pa.RecordBatch:
    """Rows as DuckDB returned them, as a batch."""
    schema = arrow_schema(columns)
    values = zip(*rows, strict=True) if rows else [() for _ in columns]
    arrays = [array_of(some, field.type) for some, field in zip(values, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _groups(schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Batches together, as many as make a row group."""
    pending: list[pa.RecordBatch] = []
    for batch in _named(schema, batches):
        pending.append(batch)
        if sum(map(len, pending)) >= _GROUP_ROWS or sum(one.nbytes for one in pending) >= _GROUP_BYTES:
            yield pa.Table.from_batches(pending, schema)
            pending = []
    if pending:
        yield pa.Table.from_batches(pending, schema)


def _write(
    path: Path,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    metadata: Callable[[], Mapping[str, str]] | None,
) -> int:
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=3) as writer:
        for table in _groups(schema, batches):
            rows += len(table)
            writer.write_table(table)
        if metadata is not None:
            writer.add_key_value_metadata(dict(metadata()))
    return rows
