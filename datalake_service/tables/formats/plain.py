"""Rows as a plain Parquet file for others: no system columns, no commit record. Types come from all of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from datalake_service.catalog.columns import column_type, kind_of
from datalake_service.tables.formats.output import TableColumns, write_parquet
from datalake_service.tables.formats.values import to_arrow

_BLOCK_ROWS: Final = 10_000


def write_plain_parquet(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write JSON rows to ``path``, which appears when it is complete. Columns are in the order they first came.

    Raises:
        UsageError: The file cannot be written.
    """
    names = list(dict.fromkeys(chain.from_iterable(rows)))
    columns: TableColumns = [(name, column_type({kind_of(row[name]) for row in rows if name in row})) for name in names]
    fields = pa.schema([pa.field(str(number), to_arrow([], kind).type) for number, (_, kind) in enumerate(columns)])
    blocks = (
        pa.RecordBatch.from_arrays(
            [to_arrow([row.get(name) for row in block], kind) for name, kind in columns], schema=fields
        )
        for block in (rows[start : start + _BLOCK_ROWS] for start in range(0, len(rows), _BLOCK_ROWS))
    )
    write_parquet(path, columns, blocks)
