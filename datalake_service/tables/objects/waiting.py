"""Rows that no merge has taken yet, as local Parquet files like merged ones, so that both can be asked together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from datalake_service.catalog.columns import column_type
from datalake_service.tables.formats.schema import (
    MergedKind,
    MergedMetadata,
    TableSchema,
    annotation_schema,
    row_schema,
)
from datalake_service.tables.formats.values import to_arrow
from datalake_service.tables.objects.parquet import MergedWriter

_BLOCK_ROWS = 4_096
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ATTEMPT = "waiting"


@dataclass(frozen=True, slots=True)
class WaitingFile:
    """A local file of rows that wait for a merge."""

    path: Path
    rows: int
    size: int
    """Bytes."""


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, str]) -> WaitingFile:
    """Write rows of batches, each with ``id``, ``_batch`` and ``_created_at``, to a new file.

    Args:
        path: Must not exist.
        rows: As they would be merged.
        kinds: The kinds of values in every column of theirs.
    """
    return _write(path, rows, row_schema(kinds), "rows")


def write_annotations(path: Path, rows: Sequence[Mapping[str, Any]], kinds: Mapping[str, str]) -> WaitingFile:
    """Write annotation rows to a new file.

    Args:
        path: Must not exist.
        rows: As they would be merged.
        kinds: The kinds of values in every column of the annotator's.
    """
    return _write(path, rows, annotation_schema(kinds), "annotations")


def _write(path: Path, rows: Sequence[Mapping[str, Any]], schema: TableSchema, kind: MergedKind) -> WaitingFile:
    writer = MergedWriter(path, schema)
    try:
        for start in range(0, len(rows), _BLOCK_ROWS):
            block = rows[start : start + _BLOCK_ROWS]
            arrays = [
                to_arrow([row.get(column.name) for row in block], column_type(column.kinds))
                for column in schema.columns
            ]
            writer.add(pa.table(arrays, schema=schema.arrow()))
        writer.finish(
            MergedMetadata(
                kind=kind, attempt=_ATTEMPT, merged_at=_EPOCH, columns=schema.columns, counts={"rows": len(rows)}
            )
        )
    except BaseException:
        writer.abort()
        path.unlink(missing_ok=True)
        raise
    return WaitingFile(path, len(rows), path.stat().st_size)
