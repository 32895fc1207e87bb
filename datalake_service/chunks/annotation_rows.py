"""Which rows of an annotator's chunks are annotation rows, and to which batch they belong. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    for name, fits, what in _SYSTEM_VALUES:
        if not fits(row.get(name)):
            return f"column {name!r} of an annotation row is {what}"
    for name in row:
        if name.startswith("_") and name not in _SYSTEM:
            return f"column {name!r} begins with an underscore"
    return None


def _is_batch(value: object) -> bool:
    try:
        check_name(value, what="batch")
    except NameNotAllowedError:
        return False
    return True


def _is_text(value: object) -> bool:
    return isinstance(value, str) and kind_of(value) == TEXT


_SYSTEM_VALUES: tuple[tuple[str, Callable[[object], bool], str], ...] = (
    ("id", _is_text, "the id of a row, text"),
    ("_batch", _is_batch, "the name of a batch"),
    ("_status", lambda value: value in STATUSES, f"one of {', '.join(STATUSES)}"),
    ("_annotated_at", _is_text, "a time, as text"),
    ("_error", lambda value: value is None or isinstance(value, str), "text or null"),
)
