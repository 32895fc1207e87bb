"""What a view must show, worked out row by row in plain Python, sharing nothing with the code under test; shortcuts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from datalake_service.config.filters import AllFilter, AnyFilter, BooleanFilter, FilterNode, NotFilter, RawDuckFilter
from datalake_service.pipeline.views.plan import ViewRequest
from datalake_service.pipeline.views.views import DatasetView
from datalake_service.storage.base import ObjectStore
from datalake_service.tables.database.engine import EngineLimits
from tests.support.filters import selects

Node = FilterNode
Row = Mapping[str, Any]
Batches = Mapping[str, Sequence[Row]]
"""Rows with ``id`` by batch, in order."""
Annotations = Mapping[str, Mapping[str, Mapping[str, Row | str]]]
"""Annotator, batch, row id: columns, or a status that is not ``done``."""


def shown(batches: Batches, annotations: Annotations) -> Iterator[dict[str, Any]]:
    """Every row with every column, ``None`` where there is no value; and its batch under ``_batch``."""
    base = {name for rows in batches.values() for row in rows for name in row}
    added = {
        (annotator, name)
        for annotator, by_batch in annotations.items()
        for batch, by_id in by_batch.items()
        if batch in batches
        for columns in by_id.values()
        if not isinstance(columns, str)
        for name in columns
    }
    for batch, rows in batches.items():
        for row in rows:
            full: dict[str, Any] = {name: row.get(name) for name in base}
            for annotator, name in added:
                columns = annotations[annotator].get(batch, {}).get(row["id"], {})
                full[f"{annotator}.{name}"] = None if isinstance(columns, str) else columns.get(name)
            yield {**full, "_batch": batch}


def verdict(node: Node, row: Row, sql: Mapping[str, Any]) -> bool | None:
    """What a filter says about a row: true, false or null. ``sql`` maps each raw filter's text to a function."""
    match node:
        case BooleanFilter():
            value = row.get(node.field)
            return None if value is None else value is node.value
        case RawDuckFilter():
            answer: bool | None = sql[node.sql](row)
            return answer
        case AllFilter():
            verdicts = [verdict(part, row, sql) for part in node.filters]
            return False if False in verdicts else None if None in verdicts else True
        case AnyFilter():
            verdicts = [verdict(part, row, sql) for part in node.filters]
            return True if True in verdicts else None if None in verdicts else False
        case NotFilter():
            return verdict(node.filter, row, sql) is not True
        case _:
            return selects(node, row)


TEXTS = [{"text": f"text {number}", "n": number} for number in range(10)]


def view(
    store: ObjectStore, dataset: str = "posts", *, limits: EngineLimits | None = None, **request: Any
) -> DatasetView:
    """A view of a dataset."""
    return DatasetView(store, ViewRequest(dataset=dataset, **request), limits=limits)


def sql(text: str) -> RawDuckFilter:
    """A raw filter."""
    return RawDuckFilter(sql=text)


def dicts(rows: DatasetView) -> list[dict[str, Any]]:
    """All rows as plain dicts."""
    with rows:
        return [dict(row) for row in rows]


def descriptors() -> int:
    """How many files this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
