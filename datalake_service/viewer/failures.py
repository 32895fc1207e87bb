"""Annotations that failed: how many of which kind, and which rows."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, Final

from datalake_service.config.filters import AllFilter, EqualsFilter, FilterNode, NullFilter
from datalake_service.pipeline.live.asking import Asking
from datalake_service.pipeline.live.charts import over_rows
from datalake_service.pipeline.live.dataset import Snapshot
from datalake_service.pipeline.live.pages import CREATED_AT, PageRequest, find_page, read_page
from datalake_service.tables.database.sql import Reference
from datalake_service.tables.live.paging import Order, Place
from datalake_service.tables.live.profiles import count_values
from datalake_service.viewer.cells import CellWriter
from datalake_service.viewer.cursors import is_text
from datalake_service.viewer.problems import QueryError
from datalake_service.viewer.queries import FailuresQuery

UNKNOWN: Final = "unknown"
"""The kind of failures that were written before kinds were noted."""
_COLUMNS: Final = ("_kind", "_error", "_attempts", "_cost", "_annotated_at")
_ORDER: Final = Order(CREATED_AT, descending=True)


def failures(asking: Asking, snapshot: Snapshot, query: FailuresQuery) -> dict[str, Any]:
    """By kind, and one page of them: annotator after annotator, the newest rows first."""
    names = [name for name in sorted(snapshot.annotations) if query.annotator in (None, name)]
    kinds = []
    for name in names:
        kinds += [{"annotator": name, "kind": kind, "rows": rows} for kind, rows in _kinds(asking, snapshot, name)]
    begin, after = _from_cursor(query.cursor)
    failing = [name for name in names if any(one["annotator"] == name for one in kinds) and name >= begin]
    items: list[dict[str, Any]] = []
    following = None
    for name in failing:
        page = _page(asking, snapshot, name, query, after if name == begin else None, query.limit + 1 - len(items))
        items += [item for item, _ in page]
        if len(items) > query.limit:
            items, place = items[: query.limit], page[-2][1] if len(page) > 1 else None
            following = _to_cursor(name, place)
            break
    return {"kinds": kinds, "items": items, "next": following, "version": snapshot.version}


def _failed(annotator: str, kind: str | None) -> FilterNode:
    parts: list[FilterNode] = [EqualsFilter(field=f"{annotator}._status", value="failed")]
    if kind == UNKNOWN:
        parts.append(NullFilter(field=f"{annotator}._kind"))
    elif kind is not None:
        parts.append(EqualsFilter(field=f"{annotator}._kind", value=kind))
    return AllFilter(filters=parts)


def _kinds(asking: Asking, snapshot: Snapshot, annotator: str) -> list[tuple[str, int]]:
    column = Reference(annotator, "_kind")
    condition = asking.condition(snapshot, _failed(annotator, None))
    found, _ = over_rows(
        asking,
        snapshot,
        condition,
        [column],
        lambda rows: count_values(rows, column),
    )
    return [(UNKNOWN if kind is None else str(kind), rows) for kind, rows in found]


def _page(
    asking: Asking, snapshot: Snapshot, annotator: str, query: FailuresQuery, after: Place | None, limit: int
) -> list[tuple[dict[str, Any], Place]]:
    condition = asking.condition(snapshot, _failed(annotator, query.kind))
    found = find_page(asking, snapshot, PageRequest(condition=condition, order=_ORDER, after=after, limit=limit))
    rows = read_page(asking, snapshot, found, [Reference(annotator, name) for name in _COLUMNS], cut=2_000)
    safe = CellWriter().safe
    items = []
    for row in rows:
        kind, message, attempts, cost, at = (safe(cell.value) for cell in row.cells)
        item = {
            "annotator": annotator,
            "batch": row.batch,
            "id": row.id,
            "kind": UNKNOWN if kind is None else kind,
            "message": message,
            "attempts": attempts,
            "cost": cost,
            "at": at,
        }
        items.append((item, row.place))
    return items


def _to_cursor(annotator: str, place: Place | None) -> str:
    fields = [annotator, None if place is None else [place.value, place.batch, place.id]]
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()


def _from_cursor(text: str | None) -> tuple[str, Place | None]:
    if text is None:
        return "", None
    try:
        fields = json.loads(base64.urlsafe_b64decode(text.encode("ascii")))
    except (binascii.Error, UnicodeError, ValueError, RecursionError):
        fields = None
    match fields:
        case [str(annotator), None] if is_text(annotator):
            return annotator, None
        case [str(annotator), [str(value), str(batch), str(row_id)]] if all(map(is_text, fields[1])):
            return annotator, Place(value, batch, row_id)
        case _:
            raise QueryError("this is no cursor of this viewer; begin at the first page", "cursor")
