"""Which rows of an annotator's chunks are annotation rows, and to which batch they belong. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from datalake_service.catalog.annotations import (
    ANNOTATION_COLUMNS,
    ATTEMPTS,
    CODE,
    COST,
    GENERATION,
    INPUT_TOKENS,
    KIND,
    OUTPUT_TOKENS,
    SECONDS,
    STATUSES,
    VERSION,
)
from datalake_service.catalog.columns import INT53, TEXT, kind_of
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
    for name, (fits, what) in _REQUIRED.items():
        if not fits(row.get(name)):
            return f"column {name!r} of an annotation row is {what}"
    for name, value in row.items():
        if not name.startswith("_") or name in _REQUIRED:
            continue
        if name not in _SYSTEM:
            return f"column {name!r} begins with an underscore"
        check = _OPTIONAL.get(name)
        if check is not None and value is not None and not check[0](value):
            return f"column {name!r} of an annotation row is {check[1]} or null"
    return None


def _is_batch(value: object) -> bool:
    try:
        check_name(value, what="batch")
    except NameNotAllowedError:
        return False
    return True


def _is_whole(value: object) -> bool:
    return type(value) is int and kind_of(value) == INT53


def _is_float(value: object) -> bool:
    return type(value) is float


def _is_text(value: object) -> bool:
    return isinstance(value, str) and kind_of(value) == TEXT


_Check = tuple[Callable[[object], bool], str]

_REQUIRED: dict[str, _Check] = {
    "id": (_is_text, "the id of a row, text"),
    "_batch": (_is_batch, "the name of a batch"),
    "_status": (lambda value: value in STATUSES, f"one of {', '.join(STATUSES)}"),
    "_annotated_at": (_is_text, "a time, as text"),
}
_OPTIONAL: dict[str, _Check] = {
    **{name: (lambda value: isinstance(value, str), "text") for name in ("_error", KIND, VERSION, CODE)},
    **dict.fromkeys((GENERATION, ATTEMPTS, INPUT_TOKENS, OUTPUT_TOKENS), (_is_whole, "a whole number")),
    **dict.fromkeys((SECONDS, COST), (_is_float, "a float")),
}
