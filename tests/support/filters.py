"""What filters select, decided in plain Python over the values of one row; shares nothing with the SQL."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from datalake_service.config.filters import (
    AllFilter,
    AnyFilter,
    BooleanFilter,
    ContainsFilter,
    EqualsFilter,
    FilterNode,
    InFilter,
    NotEqualsFilter,
    NotFilter,
    NullFilter,
    RangeFilter,
    RawDuckFilter,
    RegexFilter,
    StartsWithFilter,
)
from datalake_service.jsontext import dumps

Row = Mapping[str, Any]


def selects(node: FilterNode, row: Row, sql: Mapping[str, Callable[[Row], Any]] | None = None) -> bool:
    """Whether a filter selects a row; ``sql`` maps the text of each raw filter to a function."""
    match node:
        case AllFilter():
            return all(selects(part, row, sql) for part in node.filters)
        case AnyFilter():
            return any(selects(part, row, sql) for part in node.filters)
        case NotFilter():
            return not selects(node.filter, row, sql)
        case RawDuckFilter():
            return bool((sql or {})[node.sql](row))
        case NullFilter():
            return (row.get(node.field) is None) is node.value
        case _:
            value = row.get(node.field)
            return value is not None and compares(node, value)


def compares(node: Any, value: Any) -> bool:  # noqa: PLR0911 - one for each class
    """Whether a filter on a column takes a value that is there."""
    match node:
        case BooleanFilter():
            return value is node.value
        case EqualsFilter():
            return same(value, node.value)
        case NotEqualsFilter():
            return not same(value, node.value)
        case InFilter():
            return any(same(value, one) for one in node.values)
        case RangeFilter():
            return all(
                within(value, bound, takes)
                for bound, takes in (
                    (node.gt, lambda a, b: a > b),
                    (node.ge, lambda a, b: a >= b),
                    (node.lt, lambda a, b: a < b),
                    (node.le, lambda a, b: a <= b),
                )
                if bound is not None
            )
        case ContainsFilter():
            return folded(node.value, node) in folded(text(value), node)
        case StartsWithFilter():
            return folded(text(value), node).startswith(folded(node.value, node))
        case RegexFilter():
            return re.search(node.pattern, text(value), 0 if node.case_sensitive else re.IGNORECASE) is not None
        case _:
            msg = f"the model does not know {node.type}"
            raise NotImplementedError(msg)


def is_number(value: Any) -> bool:
    """Numbers, and not truth values, which Python counts among them."""
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def same(value: Any, other: Any) -> bool:
    """Equal, and of one kind."""
    if is_number(value) and is_number(other):
        return bool(value == other)
    return type(value) is type(other) and bool(value == other) and not isinstance(value, float)


def within(value: Any, bound: Any, takes: Callable[[Any, Any], bool]) -> bool:
    """Compared with something of its kind."""
    if is_number(value) and is_number(bound):
        return takes(value, bound)
    return isinstance(value, str) and isinstance(bound, str) and takes(value, bound)


def text(value: Any) -> str:
    """Text as it is, anything else as JSON."""
    return value if isinstance(value, str) else dumps(value).decode()


def folded(value: str, node: Any) -> str:
    """As the filter looks at it."""
    return value if node.case_sensitive else value.lower()
