"""A user's SQL taken apart at its outermost ANDs: each part may be decided by itself, small columns before large ones.

DuckDB's parser says where the parts stand, and has the last word: they are used only if it reads each of them as the
part that it was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import duckdb

_SELECT: Final = b"SELECT\n"
_PLACE, _LENGTH = "query_location", "query_location_length"
_AND: Final = re.compile(rb"[\s)]*\bAND\b", re.IGNORECASE)
_NO_PLACE: Final = 1 << 62


def split_ands(connection: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    """The parts of an expression between its outermost ANDs; the expression itself if there are none to be found."""
    import duckdb

    try:
        children = _children(_tree(connection, sql))
        parts = _cut(sql.encode(), children)
        if [_bare(_tree(connection, part)) for part in parts] == [_bare(child) for child in children]:
            return parts or [sql]
    except (duckdb.Error, LookupError, TypeError, ValueError, RecursionError):
        pass  # what is wrong with it is said by those who need to know
    return [sql]


def _tree(connection: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    query = (_SELECT + sql.encode() + b"\n").decode()
    row = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchone()
    answer: dict[str, Any] = json.loads(row[0]) if row else {}
    (statement,) = answer["statements"]
    (chosen,) = statement["node"]["select_list"]
    found: dict[str, Any] = chosen
    return found


def _children(tree: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = tree["children"] if tree["type"] == "CONJUNCTION_AND" else []
    return found


def _cut(text: bytes, children: list[dict[str, Any]]) -> list[str]:
    """The text of each child: what stands between the ANDs that stand between them."""
    spans = [list(_spans(child)) for child in children]
    starts = [0]
    ends = []
    for before, behind in pairwise(spans):
        end, start = max(span[1] for span in before), min(span[0] for span in behind)
        match = _AND.match(text, end)
        if match is None or match.end() > start:
            return []
        ends.append(match.end() - len(b"AND"))
        starts.append(match.end())
    return [text[start:end].decode() for start, end in zip(starts, [*ends, len(text)], strict=True)]


def _spans(node: object) -> Iterator[tuple[int, int]]:
    """Where everything below a node stands in the text."""
    if isinstance(node, list):
        for item in node:
            yield from _spans(item)
    elif isinstance(node, dict):
        place = node.get(_PLACE, _NO_PLACE)
        if place < _NO_PLACE:
            start = place - len(_SELECT)
            yield start, start + node.get(_LENGTH, 0)
        for value in node.values():
            yield from _spans(value)


def _bare(node: object) -> object:
    """A tree without the places where it stood."""
    if isinstance(node, list):
        return [_bare(item) for item in node]
    if isinstance(node, dict):
        return {name: _bare(value) for name, value in node.items() if name not in {_PLACE, _LENGTH}}
    return node
