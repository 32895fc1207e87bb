"""Mistakes in words: one line each, with the JSON path, what was found (never a secret) and what is allowed."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from datalake_service.config.faults import ABSENT, UNKNOWN, Location
from datalake_service.config.location import without_credentials

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails, ValidationError

_LONGEST: Final = 60
_USERS_OWN: Final = frozenset(
    {"parameters", "modelEnvironmentVariables", "sparkReadOptions", "sparkWriteOptions", "expressionAttributeValues"}
)
"""Objects whose content is the user's: what stands in them is not shown."""
_SECRET: Final = re.compile(
    r"secret|passw|token|credential|authorization|private|(?:api|access|account)[_-]?key|^key$|^auth$", re.IGNORECASE
)
_COUNTED: Final = re.compile(r"tokens(?![a-z])", re.IGNORECASE)
"""Of a language model: a number of them is no secret."""
_MASK: Final = "(hidden)"


def problem_lines(error: ValidationError) -> tuple[str, ...]:
    """One line for each mistake, in the order of the sections."""
    return tuple(_printable(_line(fault)) for fault in error.errors(include_url=False, include_context=False))


def json_path(location: Location) -> str:
    """A place in a JSON document, such as ``annotators[0].fraction``."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[\w$-]+", part):
            text += f".{part}"
        else:
            text += f"[{json.dumps(part, ensure_ascii=False)}]"
    return text.removeprefix(".") or "the file"


def looks_secret(key: str) -> bool:
    """Whether a value under this key should not be shown."""
    return _SECRET.search(key) is not None


def _hides(key: str, value: object) -> bool:
    return looks_secret(key) and not (isinstance(value, (int, float)) and _COUNTED.search(key) is not None)


def redacted(value: object, *, key: str = "") -> object:
    """A JSON value as it may be shown or kept: what its key says is a secret is hidden, so are passwords in URIs."""
    if key and isinstance(value, (str, int, float)) and not isinstance(value, bool) and _hides(key, value):
        return _MASK
    if isinstance(value, dict):
        return {name: redacted(item, key=str(name)) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(item, key=key) for item in value]
    return without_credentials(value) if isinstance(value, str) else value


def _printable(text: str) -> str:
    """On one line, whatever keys and values consist of."""
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def _line(fault: ErrorDetails) -> str:
    path, message = json_path(fault["loc"]), fault["msg"]
    if fault["type"] == UNKNOWN:
        return f"{path}: {message}"
    if fault["type"] == ABSENT:
        return f"{path}: missing; {message}"
    return f"{path}: found {_shown(fault['input'], fault['loc'])}; {message}"


def _shown(value: object, location: Location) -> str:
    """What was found: scalars as JSON, short and on one line; of others only what they are."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, (list, tuple)):
        return "a list"
    keys = [part for part in location if isinstance(part, str)]
    if any(key in _USERS_OWN for key in keys) or any(_hides(key, value) for key in keys):
        return _kind(value)
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = without_credentials(text)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"


def _kind(value: object) -> str:
    if isinstance(value, str):
        return "text"
    return "true or false" if isinstance(value, bool) else "nothing" if value is None else "a number"
