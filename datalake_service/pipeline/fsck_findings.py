"""What a check of a dataset can find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class FindingKind(StrEnum):
    """What is wrong. All but the last two are damage."""

    UNREADABLE = "unreadable"
    """An object cannot be read, or is not what its key says."""
    MISSING = "missing"
    """Something names an object that is not there, nor is what it held."""
    DUPLICATED_IDS = "duplicatedIds"
    """Rows of a merged object share an id, or have none."""
    NO_BASE_ROW = "noBaseRow"
    """Annotations of rows that do not exist."""
    WRONG_COUNT = "wrongCount"
    """Rows, bytes or statuses differ from what a manifest or a commit record says."""
    MISPLACED = "misplaced"
    """Rows of another batch."""
    UNREFERENCED = "unreferenced"
    """Nothing refers to the object; it does no harm."""
    BUSY = "busy"
    """It changed whenever it was looked at; check again when less is going on."""


_HARMLESS = frozenset({FindingKind.UNREFERENCED, FindingKind.BUSY})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a check found."""

    kind: FindingKind
    key: str
    """The object, relative to the root of the lake."""
    message: str
    """One line."""

    @property
    def is_damage(self) -> bool:
        """Whether something is wrong, and not only left over."""
        return self.kind not in _HARMLESS

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"kind": str(self.kind), "damage": self.is_damage, "key": self.key, "message": self.message}


Tell = Callable[[FindingKind, str, str], None]
"""Takes kind, key and message of a finding."""
