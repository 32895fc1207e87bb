"""Merged objects as a merge would leave them, for tests that read: rows in, ``merged.parquet`` in the lake."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from datalake_service.catalog import layout
from datalake_service.catalog.annotations import STATUSES
from datalake_service.catalog.columns import kind_of, merge_censuses
from datalake_service.storage.base import ObjectMeta, ObjectStore, Overwrite
from datalake_service.tables.formats.schema import (
    MergedKind,
    MergedMetadata,
    TableSchema,
    annotation_schema,
    row_schema,
)
from datalake_service.tables.formats.values import to_arrow
from datalake_service.tables.objects.parquet import MergedWriter

MERGED_AT = datetime(2026, 11, 20, 13, tzinfo=UTC)
CREATED_AT = "2026-11-20T13:00:00.000000Z"
Row = Mapping[str, Any]


def put_rows(
    store: ObjectStore, dataset: str, batch: str, rows: Iterable[Row], *, group_rows: int = 50_000
) -> ObjectMeta:
    """Replace the merged rows of a batch. Rows without ``id`` get their number."""
    plain = [{"id": str(number), **row, "_batch": batch, "_created_at": CREATED_AT} for number, row in enumerate(rows)]
    schema = row_schema(census(plain, without=("id", "_batch", "_created_at")))
    key = layout.merged_key(layout.batch_prefix(dataset, batch))
    return _put(store, key, "rows", schema, plain, group_rows=group_rows)


def put_annotations(
    store: ObjectStore, dataset: str, annotator: str, batch: str, rows: Mapping[str, Row | str]
) -> ObjectMeta:
    """Replace the merged annotations of a batch: columns by row id, or ``skipped`` or ``failed``."""
    plain = []
    for row_id, row in rows.items():
        status = row if isinstance(row, str) else "done"
        columns = {} if isinstance(row, str) else dict(row)
        error = "it broke" if status == "failed" else None
        plain.append({
            "id": row_id, "_batch": batch, "_status": status, "_error": error, "_metadata": None,
            "_annotated_at": CREATED_AT, **columns,
        })  # fmt: skip
    system = ("id", "_batch", "_status", "_error", "_metadata", "_annotated_at")
    schema = annotation_schema(census(plain, without=system))
    key = layout.merged_key(layout.annotation_prefix(dataset, annotator, batch))
    return _put(store, key, "annotations", schema, plain)


def census(rows: Sequence[Row], *, without: Sequence[str]) -> dict[str, str]:
    """The kinds of every column of ``rows``."""
    return merge_censuses({name: kind_of(value) for name, value in row.items() if name not in without} for row in rows)


def _put(
    store: ObjectStore,
    key: str,
    kind: MergedKind,
    schema: TableSchema,
    rows: Sequence[Row],
    *,
    group_rows: int = 50_000,
) -> ObjectMeta:
    counts = {"rows": len(rows)}
    if kind == "annotations":
        statuses = Counter(row["_status"] for row in rows)
        counts |= {status: statuses[status] for status in STATUSES}
    metadata = MergedMetadata(
        kind=kind, attempt="0123456789ab", merged_at=MERGED_AT, columns=schema.columns, counts=counts
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "merged.parquet"
        writer = MergedWriter(path, schema, group_rows=group_rows)
        if rows:
            arrays = [to_arrow([row.get(column.name) for row in rows], column.type) for column in schema.columns]
            writer.add(pa.Table.from_arrays(arrays, schema=writer.schema))
        writer.finish(metadata)
        return store.put(key, path, mode=Overwrite())
