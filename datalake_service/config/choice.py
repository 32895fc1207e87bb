"""Closed sets of values that are read whatever their case and in each of their spellings.

The original's files say ``"Single File Reader"`` and ``SINGLEFILEREADER``, ``Lambda`` and ``LAMBDA``; all of
them mean the same. Case, spaces, ``-`` and ``_`` do not count. Knows nothing of sections and fields.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from pydantic_core import CoreSchema, PydanticCustomError, core_schema

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue

_IGNORED = re.compile(r"[\s_-]+")


def folded(text: str) -> str:
    """What counts of a value: lower case, without spaces, hyphens and underscores."""
    return _IGNORED.sub("", text).casefold()


def nearest(text: str, candidates: Iterable[str]) -> str | None:
    """The candidate that ``text`` was probably meant to be, or ``None``."""
    known: dict[str, str] = {}
    for candidate in candidates:
        known.setdefault(folded(candidate), candidate)
    close = difflib.get_close_matches(folded(text), list(known), n=1, cutoff=0.6)
    return known[close[0]] if close else None


class Choice(StrEnum):
    """Base of the closed sets. Members are ``NAME = "CANONICAL", "another spelling", …``."""

    spellings: tuple[str, ...]
    """Every documented spelling, the canonical one (the member's value) first."""

    def __new__(cls, canonical: str, *others: str) -> Self:
        """Make a member whose value is its first spelling."""
        member = str.__new__(cls, canonical)
        member._value_ = canonical
        member.spellings = (canonical, *others)
        return member

    @classmethod
    def spelled(cls, text: str) -> Self | None:
        """The member that ``text`` spells, or ``None``."""
        wanted = folded(text)
        return next((member for member in cls if wanted in {folded(spelling) for spelling in member.spellings}), None)

    @classmethod
    def read(cls, value: object) -> Self:
        """The member that ``value`` spells.

        Raises:
            PydanticCustomError: No member does; the message says what is allowed and what is nearest.
        """
        found = cls.spelled(value) if isinstance(value, str) else None
        if found is not None:
            return found
        allowed = ", ".join(member.value for member in cls)
        guess = nearest(value, [s for member in cls for s in member.spellings]) if isinstance(value, str) else None
        meant = f"; did you mean {guess}?" if guess else ""
        raise PydanticCustomError("choice", "allowed: {allowed}{meant}", {"allowed": allowed, "meant": meant})

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read any spelling, write the canonical one."""
        return core_schema.no_info_plain_validator_function(
            cls.read,
            ref=f"{cls.__module__}.{cls.__qualname__}",
            serialization=core_schema.plain_serializer_function_ser_schema(str),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The spellings, for editors to offer, and a pattern that accepts what the loader accepts."""
        return {"description": (cls.__doc__ or "").splitlines()[0], **choice_schema(cls)}


def choice_schema(members: Iterable[Choice]) -> dict[str, Any]:
    """JSON Schema of a value that is one of ``members``: the spellings, in any case."""
    spellings = [spelling for member in members for spelling in member.spellings]
    pattern = "|".join(dict.fromkeys(_pattern(spelling) for spelling in spellings))
    return {"type": "string", "anyOf": [{"enum": spellings}, {"pattern": f"^({pattern})$"}]}


def _pattern(spelling: str) -> str:
    """A regular expression for a spelling in any case (JSON Schema has no flag for that)."""
    return "".join(f"[{c.upper()}{c.lower()}]" if c.isalpha() else f"\\{c}" if c in "().+" else c for c in spelling)
