"""Filters as Python text, and back. Python is read as a syntax tree, never run."""

from __future__ import annotations

import ast
import json
from typing import Any, Final

from datalake_service.config.filters import TYPES, FilterNode, parse_filter
from datalake_service.errors import FilterError

MAX_TEXT: Final = 1 << 20
"""Characters of a filter that is pasted."""
_MAX_DEPTH: Final = 100
_CLASSES: Final = {filter_class.__name__: name for name, filter_class in TYPES.items()}


def to_python(node: FilterNode) -> str:
    """The Python that makes a filter."""
    return _call(node.model_dump())


def _call(fields: dict[str, Any]) -> str:
    filter_class = TYPES[fields["type"]]
    arguments = []
    for name, field in filter_class.model_fields.items():
        value = fields[name]
        if name != "type" and (field.is_required() or value != field.default):
            arguments.append(f"{name}={_value(value)}")
    return f"{filter_class.__name__}({', '.join(arguments)})"


def _value(value: object) -> str:
    if isinstance(value, dict):
        return _call(value)
    if isinstance(value, list):
        return f"[{', '.join(_value(item) for item in value)}]"
    return repr(value)


def from_python(text: str) -> FilterNode:
    """Read the Python of a filter: calls of the filter classes with keywords, and nothing else.

    Raises:
        FilterError: It is something else.
    """
    stripped = text.strip().removesuffix(",")
    if stripped.startswith("filter="):
        stripped = stripped.removeprefix("filter=")
    if len(stripped) > MAX_TEXT:
        raise FilterError(f"filter: longer than {MAX_TEXT} characters")
    try:
        tree = ast.parse(stripped, mode="eval")
    except SyntaxError as error:
        raise FilterError(f"filter: not Python: {error.msg} (line {error.lineno}, column {error.offset})") from None
    except (ValueError, RecursionError, MemoryError):
        raise FilterError("filter: not Python, or nested too deeply") from None
    return parse_filter(_read(tree.body, "filter", 0))


def filter_given(body: bytes) -> FilterNode:
    """Read a request that holds a filter in one of its forms: ``{"json": …}``, ``{"python": …}`` or ``{"sql": …}``.

    Raises:
        FilterError: It holds none, or one that is wrong.
    """
    if len(body) > MAX_TEXT:
        raise FilterError(f"filter: longer than {MAX_TEXT} bytes")
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        raise FilterError("body: not JSON") from None
    match given:
        case {"json": value, **rest} if not rest:
            return parse_filter(value)
        case {"python": str(text), **rest} if not rest:
            return from_python(text)
        case {"sql": str(sql), **rest} if not rest:
            return parse_filter({"type": "raw_duck", "sql": sql})
        case _:
            raise FilterError('body: must be {"json": …}, {"python": text} or {"sql": text}')


def _read(node: ast.expr, path: str, depth: int) -> object:
    if depth > _MAX_DEPTH:
        raise FilterError(f"{path}: nested too deeply")
    if isinstance(node, ast.Call):
        return _read_call(node, path, depth)
    if isinstance(node, ast.List | ast.Tuple):
        return [_read(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(node.elts)]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _read(node.operand, path, depth + 1)
        if isinstance(number, int | float) and not isinstance(number, bool):
            return -number
    if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, bool | int | float | str)):
        return node.value
    raise FilterError(f"{path}: only filters with plain values are read, such as EqualsFilter(field='n', value=1)")


def _read_call(node: ast.Call, path: str, depth: int) -> dict[str, Any]:
    name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", None)
    if name not in _CLASSES:
        raise FilterError(f"{path}: {name or 'this'} is no filter; known: {', '.join(sorted(_CLASSES))}")
    if node.args or any(keyword.arg is None for keyword in node.keywords):
        raise FilterError(f"{path}: {name} takes keywords, such as {name}(field='n')")
    found: dict[str, Any] = {"type": _CLASSES[name]}
    for keyword in node.keywords:
        if keyword.arg == "type":
            raise FilterError(f"{path}: the class of a filter says its type")
        if keyword.arg is not None:
            found[keyword.arg] = _read(keyword.value, f"{path}.{keyword.arg}", depth + 1)
    return {key: value for key, value in found.items() if value is not None}
