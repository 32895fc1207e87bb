"""A JSON file that a person wrote, to Python values; every way it can be wrong is one clear line.

Stricter than ``json``: a key given twice is an error, so are NaN and infinities. A UTF-8 byte order mark is ignored.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NoReturn

from datalake_service.errors import ConfigError

_TRAILING_COMMA: Final = "a comma before the closing bracket; remove it"
_UTF16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class _Object(dict[str, Any]):
    """A JSON object that remembers which keys it was given twice."""

    repeated: tuple[str, ...] = ()


def read_json_file(path: Path) -> object:
    """Read a whole JSON file.

    Raises:
        ConfigError: It cannot be read, is not UTF-8, not JSON, or has a key twice.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder; name the file in it") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    return parse_json(data, name=str(path))


def parse_json(data: bytes, *, name: str) -> object:
    """Parse JSON text; ``name`` says where it came from.

    Raises:
        ConfigError: Not UTF-8, not JSON, or with a key twice.
    """
    text = _decode(data, name)
    if not text.strip():
        raise ConfigError(f"{name}: is empty; expected a JSON object")
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        problems = tuple(_repetitions(json.loads(text, object_pairs_hook=_object), ""))
    except json.JSONDecodeError as error:
        position, message = _explain(text, error)
        line, column = text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)
        raise ConfigError(f"{name}:{line}:{column}: {message}") from None
    except RecursionError:
        raise ConfigError(f"{name}: nested too deeply") from None
    except ValueError as error:  # NaN, or an integer of more than 4,300 digits
        raise ConfigError(f"{name}: {error}") from None
    if problems:
        lines = tuple(f"{path}: given twice; keep one" for path in problems)
        raise ConfigError(f"{name}: {count(len(problems), 'problem')}", lines)
    return value


def count(number: int, noun: str) -> str:
    """``1 problem``, ``2 problems``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _decode(data: bytes, name: str) -> str:
    if data.startswith(_UTF16):
        raise ConfigError(f"{name}: is UTF-16; save it as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        raise ConfigError(f"{name}:{line}:{column}: not UTF-8 (byte 0x{data[error.start]:02x})") from None


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    result = _Object(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        result.repeated = tuple(dict.fromkeys(key for key in keys if keys.count(key) > 1))
    return result


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _repetitions(value: object, path: str) -> Iterator[str]:
    if isinstance(value, _Object):
        yield from (f"{path}.{key}".lstrip(".") for key in value.repeated)
        for key, item in value.items():
            yield from _repetitions(item, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _repetitions(item, f"{path}[{number}]")


def _explain(text: str, error: json.JSONDecodeError) -> tuple[int, str]:
    """Where it is wrong, and what, in words that name the usual causes. The same for every version of Python."""
    rest, before = text[error.pos :].lstrip(), text[: error.pos].rstrip()
    if before.endswith(",") and rest[:1] in {"}", "]"}:
        return len(before) - 1, _TRAILING_COMMA
    if rest.startswith(",") and rest[1:].lstrip()[:1] in {"}", "]"}:
        return len(text) - len(rest), _TRAILING_COMMA
    if rest.startswith(("//", "/*", "#")):
        return len(text) - len(rest), "JSON has no comments; remove it"
    if rest.startswith(("'", "\N{LEFT SINGLE QUOTATION MARK}", "\N{LEFT DOUBLE QUOTATION MARK}")):
        return len(text) - len(rest), 'text stands in straight double quotes: "…"'
    if not rest:
        return len(text), "the file ends in the middle"
    return error.pos, f"not JSON: {error.msg[0].lower()}{error.msg[1:]}"
