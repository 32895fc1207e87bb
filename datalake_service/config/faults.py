"""Mistakes in a section, while they are collected: one sentence each that says what is allowed.

Pydantic finds them; here its words become ours. ``problems.py`` adds the path and what was found.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError, ValidationError

from datalake_service.config.choice import nearest

Location = tuple[int | str, ...]
"""Where in a JSON document: keys and indices."""

ABSENT: Final = "absent"
"""The kind of a mistake about a key that is not there."""
UNKNOWN: Final = "unknown"
"""The kind of a mistake about a key that nobody knows."""
_WRONG: Final = "wrong"

_ALLOWED: Final = {
    "string_type": "text",
    "string_too_short": "text that is not empty",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "an object",
    "model_attributes_type": "an object",
    "model_type": "an object",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "at least {min_length} element",
    "none_required": "nothing",
}
"""What pydantic's own errors allow, in words."""


def wrong(message: str) -> PydanticCustomError:
    """A value that is not possible: ``message`` says what is allowed."""
    return _said(_WRONG, message)


def absent(message: str) -> PydanticCustomError:
    """A key that is not there: ``message`` says what it is for, or what is allowed."""
    return _said(ABSENT, message)


def unknown(key: str, known: Iterable[str]) -> PydanticCustomError:
    """A key that no section of this kind has."""
    known = sorted(known)
    guess = nearest(key, known)
    rest = f"did you mean {guess}?" if guess else f"allowed here: {', '.join(known)}"
    return _said(UNKNOWN, f"unknown setting; {rest}")


def _said(kind: str, message: str) -> PydanticCustomError:
    return PydanticCustomError(kind, "{text}", {"text": message})  # type: ignore[arg-type,unused-ignore]  # LiteralString


def wrong_at(title: str, faults: Iterable[tuple[Location, object, str]]) -> ValidationError:
    """Several mistakes below one field, each (path below the field, value found, what is allowed)."""
    details = [InitErrorDetails(type=wrong(message), loc=path, input=found) for path, found, message in faults]
    return ValidationError.from_exception_data(title, details)


def both(first: ValidationError, second: ValidationError) -> ValidationError:
    """The mistakes of both, which were found below the same field."""
    faults = [*first.errors(include_url=False), *second.errors(include_url=False)]
    return ValidationError.from_exception_data(first.title, [_kept(fault, fault["loc"]) for fault in faults])


def _kept(fault: ErrorDetails, place: Location) -> InitErrorDetails:
    """A mistake as it is, at another place."""
    kind = fault["type"]
    own = _said(kind, fault["msg"]) if kind in {ABSENT, UNKNOWN, _WRONG} else kind
    return InitErrorDetails(type=own, loc=place, input=fault["input"], ctx=fault.get("ctx", {}))


def untagged(error: ValidationError, *, key: str, tags: Collection[str]) -> ValidationError:
    """The mistakes in a union that is told apart by ``key``, at places without the ``tags`` that pydantic puts in."""
    details = []
    for fault in error.errors(include_url=False):
        place = tuple(part for part in fault["loc"] if part not in tags)
        if fault["type"] == "union_tag_not_found":
            details.append(InitErrorDetails(type=absent(f"allowed: {', '.join(tags)}"), loc=(*place, key), input=None))
        elif fault["type"] == "union_tag_invalid":
            found = fault["input"].get(key)
            details.append(InitErrorDetails(type=wrong(f"allowed: {', '.join(tags)}"), loc=(*place, key), input=found))
        else:
            details.append(_kept(fault, place))
    return ValidationError.from_exception_data(error.title, details)


def reworded(
    error: ValidationError, title: str, *, keys: Mapping[str, tuple[str, ...]], described: Mapping[str, str]
) -> ValidationError:
    """The same mistakes in our words.

    ``keys`` are the keys of the section where ``error`` arose with all that mean the same, ``described`` what each
    is for. Mistakes in sections inside it have been reworded there.
    """
    return ValidationError.from_exception_data(title, [_reword(fault, keys, described) for fault in error.errors()])


def _reword(fault: ErrorDetails, keys: Mapping[str, tuple[str, ...]], described: Mapping[str, str]) -> InitErrorDetails:
    location, kind, found = fault["loc"], fault["type"], fault["input"]
    own = location[0] if len(location) == 1 else None
    if isinstance(own, str) and own not in keys.get(own, (own,)):  # an attribute, where a default was refused
        location = (keys[own][0],)
    if kind == "missing":
        return InitErrorDetails(type=absent(described.get(str(own)) or "needed here"), loc=location, input=None)
    if kind == "extra_forbidden":
        refused = _said(UNKNOWN, "unknown setting") if own is None else _unwanted(str(own), keys)
        return InitErrorDetails(type=refused, loc=location, input=None)
    if kind in {ABSENT, UNKNOWN}:
        return InitErrorDetails(type=_said(kind, fault["msg"]), loc=location, input=None)
    allowed = _ALLOWED[kind].format(**fault.get("ctx", {})) if kind in _ALLOWED else None
    return InitErrorDetails(
        type=wrong(fault["msg"] if allowed is None else f"allowed: {allowed}"), loc=location, input=found
    )


def _unwanted(key: str, keys: Mapping[str, tuple[str, ...]]) -> PydanticCustomError:
    """An extra key is unknown, or another spelling of one that was given too."""
    if key in keys and key in keys[key]:
        others = " or ".join(other for other in keys[key] if other != key)
        return _said(UNKNOWN, f"the same setting as {others}; keep one of them")
    return unknown(key, {name for same in keys.values() for name in same})
