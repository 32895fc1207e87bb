"""JSON text to Python values and back, exactly as the standard library's ``json`` does it, but fast.

``orjson`` does the work wherever it agrees with ``json``; where it does not (it reads integers beyond 64 bits
as floats, writes NaN as null, refuses lone surrogates and keys that are no text) the standard library does.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson

PASSTHROUGH = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
"""Options under which orjson hands everything that ``json`` could not write to the ``default`` hook."""

_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"000000000")
_LONG_NUMBER, _LONG_NEGATIVE = b"0" * 20, b"-" + b"0" * 19
"""The shortest integers that orjson reads as floats: 2**64 has 20 digits, -2**63 - 1 has 19."""


def orjson_reads_exactly(data: bytes) -> bool:
    """Whether no number in ``data`` can be too long for orjson. May say no for long digits inside text."""
    zeros = data.translate(_DIGITS_TO_ZERO)
    return _LONG_NUMBER not in zeros and _LONG_NEGATIVE not in zeros


def loads(data: bytes | str) -> Any:  # noqa: ANN401 - any JSON value
    """Parse one JSON text as ``json.loads`` would (NaN, huge integers and lone surrogates included).

    Raises:
        ValueError: Not JSON, not UTF-8, or nested too deeply.
    """
    raw = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if orjson_reads_exactly(raw):
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError:
            pass  # NaN, surrogates and nonsense alike: the standard library decides
    try:
        return json.loads(raw.decode("utf-8"))
    except RecursionError:
        msg = "nested too deeply"
        raise ValueError(msg) from None


def dumps(value: object, *, default: Callable[[object], object] | None = None) -> bytes:
    """Write a JSON value as ``json.dumps`` would, compactly and in UTF-8; ``default`` converts other values.

    Raises:
        TypeError: A value or key that JSON has no form for.
        ValueError: Nested too deeply, or a reference to itself.
    """
    try:
        text = orjson.dumps(value, default, PASSTHROUGH)
    except (TypeError, ValueError):
        return dumps_exact(value, default=default)
    # orjson writes NaN and infinities as null: only a text without null is beyond doubt.
    return dumps_exact(value, default=default) if b"null" in text else text


def dumps_exact(value: object, *, default: Callable[[object], object] | None = None) -> bytes:
    """Write a value with the standard library alone: slow, and right for everything."""
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=default)
        return text.encode("utf-8")
    except UnicodeEncodeError:  # lone surrogates: written as \\uXXXX, which reads back as it was
        return json.dumps(value, separators=(",", ":"), default=default).encode("ascii")
    except RecursionError:
        msg = "nested too deeply"
        raise ValueError(msg) from None
