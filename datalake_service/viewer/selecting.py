"""From parameters to filters, orders and columns. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from datalake_service.config.filters import AllFilter, ContainsFilter, FilterNode, RawDuckFilter, parse_filter
from datalake_service.tables.database.sql import Reference
from datalake_service.tables.filters.naming import ViewSchema
from datalake_service.tables.live.paging import Order
from datalake_service.viewer.problems import QueryError
from datalake_service.viewer.queries import Selection

_HIDDEN = frozenset({"id"})
"""Columns of an annotation that say nothing of their own."""


def filter_of(query: Selection, schema: ViewSchema) -> FilterNode | None:
    """All conditions of a selection as one filter.

    Raises:
        FilterError: One of them cannot be used.
        QueryError: The search names no column.
    """
    parts: list[FilterNode] = []
    if query.filter is not None and query.filter.strip():
        parts.append(parse_filter(query.filter))
    if query.where is not None and query.where.strip():
        parts.append(RawDuckFilter(sql=query.where))
    if query.search is not None and query.search:
        column, found = _search(query.search, schema)
        if found:
            parts.append(ContainsFilter(field=column, value=found, case_sensitive=False))
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else AllFilter(filters=parts)


def _search(text: str, schema: ViewSchema) -> tuple[str, str]:
    """Take ``column:text`` apart; a column that is there may have colons in its name."""
    labels = [label for label in schema.labels() if text.startswith(f"{label}:")]
    column = max(labels, key=len) if labels else text.partition(":")[0]
    if column == text:
        raise QueryError("search is COLUMN:text, such as text:hello", "search")
    return column, text[len(column) + 1 :]


def reference_of(schema: ViewSchema, label: str) -> Reference:
    """The column that a label names; one that is nowhere is a base column that is null."""
    for name in sorted(schema.annotators, key=len, reverse=True):
        column = label.removeprefix(f"{name}.")
        if column != label and column in schema.of(name):
            return Reference(name, column)
    return Reference(None, label)


def columns_of(schema: ViewSchema, labels: Sequence[str]) -> list[Reference]:
    """The columns that are shown: those that were asked for, or all of the base and what annotators say."""
    if labels:
        return [reference_of(schema, label) for label in dict.fromkeys(labels)]
    base = [Reference(None, name) for name in schema.base]
    added = [
        Reference(name, column)
        for name, columns in schema.annotators.items()
        for column in columns
        if column not in _HIDDEN and not column.startswith("_")
    ]
    return base + added


def order_of(schema: ViewSchema, sort: str | None, order: str, *, sample: int | None, seed: str) -> Order:
    """In which order rows come: newest first unless somebody says otherwise."""
    column = reference_of(schema, "_created_at" if sort is None else sort)
    return Order(column, descending=order == "desc", seed=None if sample is None else seed)
