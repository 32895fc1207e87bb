"""Which rows of an annotator's chunks are annotation rows, and to which batch they belong. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datalake_service.catalog.annotations import ANNOTATION_COLUMNS, STATUSES
from datalake_service.catalog.columns import TEXT, kind_of
from datalake_service.chunks.reader import Lines
from datalake_service.config.names import check_name
from datalake_service.errors import NameNotAllowedError

_SYSTEM = frozenset(ANNOTATION_COLUMNS)


def rows_by_batch(lines: Lines) -> dict[str, list[int]]:
    """Indexes of the rows of each batch; rows that are no annotation rows become bad lines."""
    reasons = {}
    for index, row in enumerate(lines.rows):
        reason = _problem(row)
        if reason is not None:
            reasons[index] = reason
    lines.refuse(reasons)
    batches: dict[str, list[int]] = {}
    for index, row in enumerate(lines.rows):
        batches.setdefault(row["_batch"], []).append(index)
    return batches


def _problem(row: Mapping[str, Any]) -> str | None:
    if not _is_text(row.get("id")):
        return "column 'id' of an annotation row is the id of a row, text"
    try:
        check_name(row.get("_batch"), what="batch")
    except NameNotAllowedError:
        return "column '_batch' of an annotation row is the name of a batch"
    if row.get("_status") not in STATUSES:
        return f"column '_status' of an annotation row is one of {', '.join(STATUSES)}"
    if not _is_text(row.get("_annotated_at")):
        return "column '_annotated_at' of an annotation row is a time, as text"
    if not isinstance(row.get("_error"), str | None):
        return "column '_error' of an annotation row is text or null"
    for name in row:
        if name.startswith("_") and name not in _SYSTEM:
            return f"column {name!r} begins with an underscore"
    return None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and kind_of(value) == TEXT
